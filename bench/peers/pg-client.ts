/** A bare client of PostgreSQL that LISTENs. Arguments: the database's URL, the channel. */
import pg from 'pg';
import { clockMs } from '../rig/clock.ts';
import { answerWithArrivals, cameAt } from './arrivals.ts';

const [url = '', channel = ''] = process.argv.slice(2);
const client = new pg.Client({ connectionString: url });
client.on('notification', () => cameAt(clockMs()));
await client.connect();
await client.query(`listen ${channel}`);
answerWithArrivals();
