import { createServer } from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { port: { type: "string" } } });

createServer((request, response) => response.end("pnpm-workspace web")).listen(Number(values.port), "127.0.0.1");
