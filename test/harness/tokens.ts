/** Tokens as an identity provider makes them. */
import { type JWTPayload, SignJWT } from 'jose';

export const SECRET = 'a secret of the tests, long enough for HS256';

/** A token by HS256, of `sub` and other claims, that is valid for an hour unless it says otherwise. */
export function tokenOf(claims: JWTPayload, secret = SECRET): Promise<string> {
  return new SignJWT({ exp: Math.floor(Date.now() / 1_000) + 3_600, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(secret));
}
