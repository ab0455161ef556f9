/**
 * Tokens: who is asking, as a JSON Web Token says.
 *
 * How tokens are signed is configured, never taken from a token. It promises that whoever is let in by `verify` has a
 * token of the configured key, issuer and audience that has not run out; and that what it says of one that is refused
 * holds nothing of it.
 */
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JWKSCacheInput,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwksCache,
  jwtVerify,
} from 'jose';
import type { Config } from './config.ts';
import type { Identity } from './identity.ts';
import { type Observe, type Refused, reasonOf } from './observation.ts';
import { ProtocolError } from './protocol.ts';
import { algorithmOf } from './setting.ts';

export interface Verified {
  readonly identity: Identity;
  /** When it runs out, in milliseconds since the epoch; null for never. */
  readonly expiresAtMs: number | null;
}

/** A token that does not let anybody in, and why. */
class TokenError extends Error {
  override readonly name = 'TokenError';
  readonly refused: Refused;

  constructor(refused: Refused, message: string, options?: ErrorOptions) {
    super(message, options);
    this.refused = refused;
  }
}

export interface Auth {
  /** Rejects with a `ProtocolError`: `unauthorized`, or `unavailable` where it could not be told. */
  verify(token: string): Promise<Verified>;
}

export interface AuthOptions {
  config: Pick<Config, 'jwtSecret' | 'jwtPublicKey' | 'jwksUrl' | 'jwtIssuer' | 'jwtAudience'>;
  observe: Observe;
  /** Milliseconds since the epoch. */
  now?: () => number;
  /** Pause between two fetches of the keys for names that are not among them. */
  jwksCooldownMs?: number;
  /** How old they grow before they are fetched anew. */
  jwksMaxAgeMs?: number;
}

type Verify = (token: string, options: JWTVerifyOptions) => ReturnType<typeof jwtVerify>;

/** Clocks differ by so much. */
const LEEWAY_S = 5;
const JWKS = { timeoutDuration: 5_000, cooldownDuration: 10_000, cacheMaxAge: 10 * 60_000 };
/** How long they stand in for those that cannot be fetched. */
const JWKS_GOOD_MS = 6 * 3_600_000;
const MAX_TOKEN_LENGTH = 16 * 1024;

export function createAuth({ config, observe, now = Date.now, ...jwks }: AuthOptions): Auth {
  const { jwksCooldownMs = JWKS.cooldownDuration, jwksMaxAgeMs = JWKS.cacheMaxAge } = jwks;
  const verifySignature = verifierOf(config, {
    ...JWKS,
    cooldownDuration: jwksCooldownMs,
    cacheMaxAge: jwksMaxAgeMs,
  });

  async function verify(token: string): Promise<Verified> {
    if (verifySignature === null)
      throw new TokenError('no key', 'this service takes no tokens: it has no key to check them by');
    if (token.length > MAX_TOKEN_LENGTH)
      throw new TokenError('malformed', `the token is longer than ${MAX_TOKEN_LENGTH} characters`);
    try {
      const { payload } = await verifySignature(token, {
        clockTolerance: LEEWAY_S,
        currentDate: new Date(now()),
        requiredClaims: ['sub'],
        ...(config.jwtIssuer === undefined ? {} : { issuer: config.jwtIssuer }),
        ...(config.jwtAudience === undefined ? {} : { audience: config.jwtAudience }),
      });
      const { sub, exp } = payload;
      if (sub === undefined || sub === '')
        throw new TokenError('claims', 'the token names no user: its "sub" is empty');
      return {
        identity: { user: sub, claims: payload },
        expiresAtMs: exp === undefined ? null : (exp + LEEWAY_S) * 1_000,
      };
    } catch (error) {
      throw refusalOf(error);
    }
  }

  return {
    async verify(token) {
      try {
        const verified = await verify(token);
        observe({ type: 'auth.verified' });
        return verified;
      } catch (error) {
        const refused = refusalOf(error);
        observe({ type: 'auth.refused', reason: refused.refused, error: causeOf(refused) });
        const code = refused.refused === 'unavailable' ? 'unavailable' : 'unauthorized';
        throw new ProtocolError(code, refused.message);
      }
    },
  };
}

/** The check of signatures by the configured key, and by its algorithm alone; null without a key. */
function verifierOf(
  { jwtSecret, jwtPublicKey, jwksUrl }: AuthOptions['config'],
  jwks: typeof JWKS,
): Verify | null {
  if (jwtSecret !== undefined) {
    const key = new TextEncoder().encode(jwtSecret);
    return (token, options) => jwtVerify(token, key, { ...options, algorithms: ['HS256'] });
  }
  if (jwtPublicKey !== undefined) {
    const algorithm = algorithmOf(jwtPublicKey);
    if (algorithm === undefined) throw new Error('a public key of another kind');
    return (token, options) => jwtVerify(token, jwtPublicKey, { ...options, algorithms: [algorithm] });
  }
  if (jwksUrl === undefined) return null;
  const keys = publishedKeys(jwksUrl, jwks);
  const algorithms = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];
  return async (token, options) => {
    const checks = { ...options, algorithms };
    try {
      return await jwtVerify(token, keys, checks);
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      // It does not say by which of them it is signed.
      for await (const key of error) {
        const verified = await jwtVerify(token, key, checks).catch(unlessOtherKey);
        if (verified !== null) return verified;
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  };
}

/** Keys at a URL. While they cannot be fetched anew, those that were fetched last are good for hours. */
function publishedKeys(jwksUrl: string, options: typeof JWKS): JWTVerifyGetKey {
  const fetched: JWKSCacheInput = {};
  const keys = createRemoteJWKSet(new URL(jwksUrl), { ...options, [jwksCache]: fetched });
  return async (header, token) => {
    try {
      return await keys(header, token);
    } catch (error) {
      const { jwks, uat } = fetched;
      const isKnown = jwks !== undefined && uat !== undefined && Date.now() - uat < JWKS_GOOD_MS;
      // What the keys themselves say is an answer.
      if (
        !isKnown ||
        error instanceof errors.JWKSNoMatchingKey ||
        error instanceof errors.JWKSMultipleMatchingKeys
      )
        throw error;
      return createLocalJWKSet(jwks)(header, token).catch((local: unknown) => {
        // It may be among those that could not be fetched.
        throw local instanceof errors.JWKSNoMatchingKey ? error : local;
      });
    }
  };
}

function unlessOtherKey(error: unknown): null {
  if (error instanceof errors.JWSSignatureVerificationFailed) return null;
  throw error;
}

function refusalOf(error: unknown): TokenError {
  if (error instanceof TokenError) return error;
  const refuse = (refused: Refused, message: string) => new TokenError(refused, message, { cause: error });
  if (error instanceof errors.JWTExpired) return refuse('expired', 'the token has run out; fetch a new one');
  if (error instanceof errors.JWTClaimValidationFailed) {
    // The claim's name is a standard one; its value is the token's.
    const what = error.reason === 'missing' ? 'is missing' : 'is not what this service takes';
    return refuse('claims', `the token's "${error.claim}" ${what}`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse('signature', 'the token is not signed with the key of this service');
  if (error instanceof errors.JWKSNoMatchingKey)
    return refuse('signature', 'the token is signed with a key that is not among the published ones');
  if (error instanceof errors.JOSEAlgNotAllowed)
    return refuse('signature', 'the token is signed by another algorithm than this service takes');
  if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid)
    return refuse('unavailable', 'the keys of tokens cannot be fetched now; try again after a while');
  if (
    error instanceof errors.JWTInvalid ||
    error instanceof errors.JWSInvalid ||
    error instanceof errors.JOSENotSupported
  )
    return refuse('malformed', 'the token is no JSON Web Token that can be read');
  // What is left is the network's, or its server's.
  return refuse('unavailable', 'tokens cannot be checked now; try again after a while');
}

function causeOf(refused: TokenError): string {
  return refused.cause === undefined ? refused.message : `${refused.message} (${reasonOf(refused.cause)})`;
}
