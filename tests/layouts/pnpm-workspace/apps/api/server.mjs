import { createServer } from "node:http";

const { PORT = 4000 } = process.env;

createServer((request, response) => response.end("pnpm-workspace api")).listen(PORT, "127.0.0.1");
