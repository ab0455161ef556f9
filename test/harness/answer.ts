import { until } from './facts.ts';
import type { Frame, Socket } from './socket.ts';

/** Sends a frame with an id; gives what answers it. */
export async function answerTo(
  socket: Socket,
  frame: { id: string } & Record<string, unknown>,
): Promise<Frame> {
  const before = socket.frames.length;
  socket.send(frame);
  return until(() => socket.frames.slice(before).find(({ id }) => id === frame.id), {
    what: `an answer to ${JSON.stringify(frame).slice(0, 200)}`,
  });
}
