// What the three programs read from the environment.

import { Redis } from "ioredis";

function required(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is required`);
    process.exit(2);
  }
  return value;
}

export const queueName = "deliveries";
export const concurrency = Number(process.env.CONCURRENCY ?? 10);

export function databaseUrl() {
  return required("DATABASE_URL");
}

// maxRetriesPerRequest null is what BullMQ asks of a worker's connection.
export function redisClient() {
  return new Redis(required("REDIS_URL"), { maxRetriesPerRequest: null });
}

export function jwtSecret() {
  return required("JWT_SECRET");
}

export function port() {
  return Number(required("PORT"));
}

// The worker's crash recovery, in milliseconds; BullMQ's own defaults unless the benchmark shortens them.
export const recovery = {
  lockDuration: Number(process.env.LOCK_DURATION ?? 30000),
  stalledInterval: Number(process.env.STALLED_INTERVAL ?? 30000),
};
