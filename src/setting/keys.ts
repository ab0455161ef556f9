/** What tokens are checked by. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { type Kind, kind, Refusal } from './kind.ts';

/** A secret of so many bytes at least. */
export function secret(minBytes: number): Kind<string> {
  return kind(
    `a secret of at least ${minBytes} bytes, such as \`openssl rand -base64 32\` gives`,
    (given) => {
      const length = Buffer.byteLength(given);
      if (length < minBytes) throw new Refusal(`it has ${length} bytes`);
      return given;
    },
  );
}

/** What a key signs by; undefined for one that rowcast takes no tokens of. */
export function algorithmOf({
  asymmetricKeyType,
  asymmetricKeyDetails,
}: KeyObject): 'RS256' | 'ES256' | 'EdDSA' | undefined {
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (asymmetricKeyType === 'ec')
    return asymmetricKeyDetails?.namedCurve === 'prime256v1' ? 'ES256' : undefined;
  if (asymmetricKeyType === 'rsa')
    return (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048 ? 'RS256' : undefined;
  return undefined;
}

/** A public key, as PEM. */
export function publicKey(): Kind<KeyObject> {
  return kind(
    'a public key as PEM (-----BEGIN PUBLIC KEY-----; \\n may stand for its line breaks)',
    (given) => {
      const pem = given.replaceAll('\\n', '\n');
      if (/PRIVATE KEY/.test(pem))
        throw new Refusal('it is a private key: keep that to whoever signs tokens');
      const key = keyOf(pem);
      if (key === undefined) throw new Refusal();
      if (algorithmOf(key) === undefined)
        throw new Refusal('it is none of RSA with 2048 bits or more, P-256 and Ed25519');
      return key;
    },
  );
}

function keyOf(pem: string): KeyObject | undefined {
  try {
    return createPublicKey(pem);
  } catch {
    return undefined;
  }
}
