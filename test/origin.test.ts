import { describe, expect, it } from '@jest/globals';
import { allowsOrigin, parseOrigin } from '../src/origin.ts';

describe('a list of origins', () => {
  it.each([
    ['*', '*'],
    ['self', 'self'],
    ['HTTPS://App.Example.com:443/', 'https://app.example.com'],
    ['http://localhost:5173', 'http://localhost:5173'],
    ['http://[::1]:5173', 'http://[::1]:5173'],
    ['https://*.Example.com', 'https://*.example.com'],
    ['https://münchen.example', 'https://xn--mnchen-3ya.example'],
  ])('reads %s', (entry, origin) => {
    expect(parseOrigin(entry)).toBe(origin);
  });

  it.each([
    '',
    'app.example.com',
    'ftp://app.example.com',
    'https://',
    'https://a.example.com/path',
    'https://user@example.com',
    'https://a.*.com',
    'https://*',
    'https://**.example.com',
    'https://a.example.com https://b.example.com',
  ])('refuses "%s"', (entry) => {
    expect(parseOrigin(entry)).toBeUndefined();
  });

  it.each([
    [['*'], 'https://any.example', true],
    [['*'], 'null', true],
    [['self'], 'https://rowcast.example:8080', true],
    [['self'], 'https://rowcast.example', false],
    [['self'], 'null', false],
    [['https://a.example'], 'https://a.example', true],
    [['https://a.example'], 'http://a.example', false],
    [['https://a.example'], 'https://a.example.evil', false],
    [['https://*.a.example'], 'https://x.y.a.example', true],
    [['https://*.a.example'], 'https://a.example', false],
    [['https://*.a.example'], 'https://xa.example', false],
    [['https://*.a.example'], 'http://x.a.example', false],
    [['self', 'https://b.example'], 'https://b.example', true],
    [[], 'https://b.example', false],
    [[], '', true],
  ])('%j and the page %s: %s', (list, origin, allowed) => {
    expect(allowsOrigin(list, origin, 'rowcast.example:8080')).toBe(allowed);
  });
});
