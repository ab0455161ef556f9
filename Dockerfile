# The service as an image: `docker build -t rowcast .` (BuildKit, as Docker has it by default from 23.0 on).
#
# An npm registry of your own goes in as a secret, and is in no layer: --secret id=npmrc,src=$HOME/.npmrc
# A base image of your own, with your certificates say: --build-arg NODE_IMAGE=registry.example.com/node:24-trixie-slim
ARG NODE_IMAGE=node:24-trixie-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    --mount=type=cache,target=/root/.npm \
    npm ci --include=dev --ignore-scripts --no-audit --no-fund
COPY tsconfig*.json ./
COPY scripts scripts
COPY src src
RUN npm run --silent build && find dist -name '*.d.ts' -delete

# What runs, and nothing else: the optional embedded PostgreSQL is for the demo alone, and uWebSockets.js brings a
# binary for each platform and version of Node.js.
FROM ${NODE_IMAGE} AS production
WORKDIR /production
COPY package.json package-lock.json .npmrc ./
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
 && rm -f package-lock.json .npmrc node_modules/.package-lock.json \
 && cd node_modules/uWebSockets.js \
 && binary=$(node -p '`uws_${process.platform}_${process.arch}_${process.versions.modules}.node`') \
 && test -f "$binary" \
 && find . -mindepth 1 -maxdepth 1 ! -name package.json ! -name LICENSE ! -name '*.mjs' ! -name uws.js ! -name "$binary" \
      -exec rm -rf {} + \
 && find .. -type f \( -name '*.ts' -o -name '*.cts' -o -name '*.mts' -o -name '*.map' \) -delete \
 && find .. -type d -empty -delete
COPY --from=build /build/dist dist
COPY migrations migrations
COPY LICENSE PROTOCOL.md CHANGELOG.md ./
# Whoever built it, and under whatever umask: anyone may read it, nobody but root may write it.
RUN chmod -R a+rX,go-w . && node dist/cli.js --version

FROM ${NODE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rowcast" \
      org.opencontainers.image.description="Pushes committed PostgreSQL row changes to browsers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
COPY --from=production /production /usr/local/lib/node_modules/rowcast
RUN ln -s ../lib/node_modules/rowcast/dist/cli.js /usr/local/bin/rowcast
USER 10001:10001
EXPOSE 8080
# Whether it answers at all. Whether clients should be sent to it is /readyz, which is for load balancers.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 8080}/healthz`, { signal: AbortSignal.timeout(4000) }).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# The command replaces the shell that finds it: node is PID 1, and hears the signals.
ENTRYPOINT ["rowcast"]
CMD ["serve"]
