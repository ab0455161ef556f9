-- The demo of rowcast: a shop whose orders move through their states, and whose stock goes down with each.
-- Runs after the migrations, by itself (psql -f) and by `rowcast dev`; again and again without harm.

begin;
set local client_min_messages = warning;
set local lock_timeout = '5s';
do $$ begin perform pg_advisory_xact_lock(hashtext('rowcast'), 0); end $$;

do $$
begin
  if to_regnamespace('demo') is null then
    create schema demo;
    comment on schema demo is 'The demo of rowcast. Everyone may read it.';
  elsif obj_description('demo'::regnamespace, 'pg_namespace') is distinct from 'The demo of rowcast. Everyone may read it.' then
    raise exception 'this database has a schema demo that is not rowcast''s, and would be made readable to everyone'
      using errcode = 'duplicate_schema', hint = 'Use an empty database for the demo.';
  end if;

  if to_regclass('demo.products') is null then
    create type demo.order_state as enum ('new', 'paid', 'packed', 'shipped', 'delivered');
    create table demo.products (
      id    int primary key,
      name  text not null,
      price numeric(10, 2) not null,
      stock int not null check (stock >= 0)
    );
    create table demo.orders (
      id         bigint generated always as identity primary key,
      customer   text not null,
      product_id int not null references demo.products,
      quantity   int not null check (quantity > 0),
      total      numeric(10, 2) not null,
      state      demo.order_state not null default 'new',
      changed_at timestamptz not null default now()
    );
    insert into demo.products values
      (1, 'Espresso cup', 12.50, 40), (2, 'Teapot', 48.00, 15), (3, 'Coffee grinder', 89.90, 12),
      (4, 'Milk jug', 18.00, 25), (5, 'Sugar bowl', 14.25, 30), (6, 'Kettle', 64.00, 10);
    perform rowcast.watch('demo.products', access => 'public'), rowcast.watch('demo.orders', access => 'public');
  end if;
end $$;

create or replace function demo.place_order(customer text, product int, quantity int) returns bigint
language plpgsql as $$
declare
  placed bigint;
begin
  update demo.products p set stock = p.stock - place_order.quantity where p.id = product and p.stock >= place_order.quantity;
  if not found then
    raise exception 'there are not so many of that in stock' using errcode = 'check_violation';
  end if;
  insert into demo.orders (customer, product_id, quantity, total)
    select place_order.customer, p.id, place_order.quantity, p.price * place_order.quantity from demo.products p where p.id = product
    returning id into placed;
  return placed;
end $$;
comment on function demo.place_order(text, int, int) is 'Places an order and takes it from the stock, in one transaction. Raises check_violation where there is not enough.';

create or replace function demo.advance_order(moved bigint) returns demo.order_state
language sql as $$
  update demo.orders o
     set state = (enum_range(o.state, null))[2], changed_at = clock_timestamp()
   where o.id = moved and o.state <> 'delivered' returning o.state
$$;
comment on function demo.advance_order(bigint) is 'Moves an order to its next state; null where there is none.';

create or replace function demo.stir() returns void
language plpgsql as $$
declare
  one record;
begin
  -- What customers and the warehouse do, at random; the board is kept short.
  if random() < 0.35 and (select count(*) < 16 from demo.orders where state <> 'delivered') then
    select p.id, p.stock into one from demo.products p order by random() limit 1;
    if one.stock > 3 then
      perform demo.place_order((array['Anna', 'Bela', 'Chidi', 'Dilek', 'Emre', 'Fatou'])[1 + floor(random() * 6)], one.id, 1 + floor(random() * 3)::int);
    else
      update demo.products p set stock = p.stock + 20 where p.id = one.id;
    end if;
  else
    perform demo.advance_order(o.id) from (select id from demo.orders where state <> 'delivered' order by random() limit 1) o;
  end if;
  delete from demo.orders o where o.state = 'delivered' and o.id not in (select id from demo.orders where state = 'delivered' order by changed_at desc limit 4);
end $$;
comment on function demo.stir() is 'One thing that happens in the shop, chosen at random.';

commit;
