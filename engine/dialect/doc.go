// Package dialect translates between the wire formats of providers and the one of our callers, and reads or edits the few
// fields of an OpenAI answer that the gateway cares about. All of it is pure functions on bytes: no I/O, no clock, no
// shared state. Files are named <from>_<to>.go.
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
