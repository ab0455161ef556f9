/**
 * Traces: what takes time and what fails, as spans of OpenTelemetry, where its standard variables say where to.
 *
 * Its packages are the operator's to install: nothing of them is loaded without those variables. They read the rest of
 * the variables (headers, protocol, sampler, resource) by themselves.
 */
import type { Attributes, Tracer } from '@opentelemetry/api';
import type { Observe } from './observation.ts';
import { StartError } from './start-error.ts';

export interface Traces {
  readonly observe: Observe;
  /** Sends what has not been sent. */
  stop(): Promise<void>;
}

const ENDPOINTS = ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'OTEL_EXPORTER_OTLP_ENDPOINT'];

/** Null where they are not asked for. Rejects with a `StartError` where the packages are not there. */
export async function createTraces(
  env: Readonly<Record<string, string | undefined>>,
): Promise<Traces | null> {
  const asked = ENDPOINTS.find((name) => env[name]?.trim());
  if (asked === undefined || env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return null;
  const { NodeSDK, api } = await load(asked);
  const sdk = new NodeSDK({ serviceName: env['OTEL_SERVICE_NAME']?.trim() || 'rowcast' });
  sdk.start();
  const tracer = api.trace.getTracer('rowcast');
  return {
    observe: recorder(tracer, api.SpanStatusCode.ERROR),
    stop: () => sdk.shutdown(),
  };
}

async function load(asked: string) {
  try {
    const [{ NodeSDK }, api] = await Promise.all([
      import('@opentelemetry/sdk-node'),
      import('@opentelemetry/api'),
    ]);
    return { NodeSDK, api };
  } catch (cause) {
    const install = 'npm install @opentelemetry/sdk-node @opentelemetry/api';
    throw new StartError(`${asked} asks for traces, and OpenTelemetry is not installed; run: ${install}`, {
      cause,
    });
  }
}

function recorder(tracer: Tracer, errorCode: number): Observe {
  const done = (name: string, durationMs: number, attributes: Attributes) => {
    const endMs = Date.now();
    tracer.startSpan(name, { startTime: endMs - Math.max(durationMs, 0), attributes }).end(endMs);
  };
  return (seen) => {
    switch (seen.type) {
      // From the commit in PostgreSQL to its publication.
      case 'feed.commit':
        return done('commit', seen.lagMs, {
          'rowcast.source': seen.source,
          'rowcast.changes': seen.changes,
          'rowcast.xid': String(seen.xid),
        });
      case 'feed.read':
        return done('read', seen.durationMs, {
          'rowcast.reason': seen.reason,
          'rowcast.commits': seen.commits,
        });
      case 'catalog.loaded':
        return done('catalog', seen.durationMs, { 'rowcast.tables': seen.tables });
      case 'leader.unmuted':
        return done('muted', seen.durationMs, { 'rowcast.commits': seen.commits });
      case 'feed.read_failed':
      case 'catalog.failed':
      case 'leader.failed':
      case 'bus.failed':
      case 'message.failed':
      case 'presence.failed':
      case 'log.prune_failed':
      case 'session.failed': {
        const span = tracer.startSpan(seen.type);
        span.setStatus({ code: errorCode, message: seen.error });
        return span.end();
      }
      default:
    }
  };
}
