// Package dialect translates conversations between the wire formats of callers and providers, and reads or edits the few
// fields of an answer that the gateway cares about. All of it is pure functions on bytes: no clock, no shared state, and no
// I/O but reading the stream that is translated.
//
// There are three dialects, [Chat], [Messages] and [Responses], and the legacy [Completions] of callers only. Each is
// translated to and from Chat, in files named <from>_<to>.go; between two others the way leads through Chat, whose
// extensions reasoning_content, thinking_blocks and cache_control carry what OpenAI's format has no place for.
// docs/dialects.md has the tables of what becomes of each field.
//
// Two habits hold everywhere. Values that need no translation (texts, schemas, tool inputs) are copied byte for byte, so
// prompt prefixes stay stable and numbers keep their digits. And nothing is lost silently: what a request cannot carry
// over is named to the caller, or refused if the request would mean something else without it.
//
// Counting of tokens has one normal form, [Usage], which is OpenAI's: input includes what was read from or written to a
// prompt cache, output includes reasoning. Anthropic's input_tokens excludes the cache; the translation adds it.
//
// Functions with a dst argument append to it and return the extended slice, as append does.
package dialect
