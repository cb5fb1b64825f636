const http = require("node:http");

const port = Number(process.env.PORT) || 3000;

http
  .createServer((request, response) => response.end("layout node-server"))
  .listen(port, "127.0.0.1", () => console.log(`listening on ${port}`));
