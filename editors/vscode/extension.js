// Starts `spakc lsp` for files of SPAK; all that it knows comes from there.
const { workspace } = require("vscode");
const { LanguageClient, TransportKind } = require("vscode-languageclient/node");

let client;

exports.activate = () => {
  const [command, ...args] = workspace.getConfiguration("spak").get("command");
  client = new LanguageClient(
    "spak",
    "SPAK",
    { command, args, transport: TransportKind.stdio },
    {
      documentSelector: [{ scheme: "file", language: "spak" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.{spak,cu,cuh,h}") },
    },
  );
  return client.start();
};

exports.deactivate = () => client?.stop();
