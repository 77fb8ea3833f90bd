"use strict";

// The document again whenever a key is given or taken back: it lists the models that the key may see.

const DOCUMENT = "/openapi.json";

/** The same document in the words of OpenAPI 3.0, which this version of Swagger UI reads. */
function readable(text) {
  const told = JSON.parse(text, (_name, value) => {
    if (value && Array.isArray(value.type) && value.type.includes("null")) {
      const [type] = value.type.filter((each) => each !== "null");
      return { ...value, type, nullable: true };
    }
    return value;
  });
  for (const content of contents(told)) {
    for (const [kind, body] of Object.entries(content)) {
      if (kind.startsWith("image/") || kind === "application/octet-stream") {
        body.schema = { type: "string", format: "binary" };
      }
      const fields = (kind === "multipart/form-data" && body.schema.properties) || {};
      for (const [name, field] of Object.entries(fields)) {
        if (field.contentMediaType) fields[name] = { type: "string", format: "binary" };
      }
    }
  }
  return JSON.stringify({ ...told, openapi: "3.0.3" });
}

function* contents(told) {
  for (const path of Object.values(told.paths)) {
    for (const operation of Object.values(path)) {
      if (operation.requestBody) yield operation.requestBody.content;
    }
  }
}

function keyOf(authorized) {
  const given = authorized && authorized.get && authorized.get("key");
  const value = given && given.get("value");
  return typeof value === "string" && value ? { Authorization: `Bearer ${value}` } : {};
}

async function show(system) {
  const headers = keyOf(system.authSelectors.authorized());
  const answer = await fetch(DOCUMENT, { headers, credentials: "omit" });
  if (answer.ok) {
    system.specActions.updateSpec(readable(await answer.text()));
    system.specActions.updateLoadingStatus("success");
    return;
  }
  const { error } = await answer.json();
  system.errActions.newAuthErr({ authId: "key", level: "error", source: "auth", message: error });
}

function showsModelsOfKey() {
  const again = (original, system) => (given) => {
    const result = original(given);
    show(system);
    return result;
  };
  return {
    statePlugins: {
      auth: { wrapActions: { authorize: again, logout: again } },
    },
  };
}

const ui = SwaggerUIBundle({
  dom_id: "#page",
  spec: { openapi: "3.0.3", info: { title: "wherever gateway", version: "" }, paths: {} },
  plugins: [showsModelsOfKey],
  presets: [SwaggerUIBundle.presets.apis],
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  validatorUrl: null,
  syntaxHighlight: { activated: true },
});
show(ui.getSystem());
