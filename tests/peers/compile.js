// Solidity's standard JSON: from standard input through one of npm's compilers to standard output.
const compiler = require(process.argv[2]);
process.stdout.write(compiler.compile(require("fs").readFileSync(0, "utf8")));
