// Package openapi holds the description of everything that the gateway serves, as OpenAPI 3.1, and serves it. The description is
// kept by hand in the JSON files beside this one: api holds the API's part, admin the operator's, both what they share. What would
// only be repeated there is derived when it is put together: the error answers of an operation from the codes that it names, and
// the paths of the families /api/v1 and /api/v1/llm from those of /v1.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"sync"

	"github.com/valyala/fasthttp"
)

//go:embed api admin both
var files embed.FS

// API is the description of the API, as JSON.
func API() []byte {
	return embedded("api/about.json", "api/conversations.json", "api/operations.json", "api/vendors.json",
		"api/account.json", "both/usage.json", "both/health.json", "both/answers.json")
}

// Admin is the description of the operator's API, as JSON.
func Admin() []byte {
	return embedded("admin/about.json", "admin/teams.json", "admin/accounts.json", "admin/ledger.json", "admin/policies.json", "admin/rollouts.json", "admin/vault.json", "admin/cache.json", "admin/state.json", "admin/prices.json", "admin/usage.json",
		"both/usage.json", "both/health.json", "both/answers.json")
}

// embedded puts together files, in the order in which they are to be read.
func embedded(names ...string) []byte {
	var fragments [][]byte
	for _, name := range names {
		fragments = append(fragments, read(name))
	}
	document, err := assemble(read("both/errors.json"), fragments)
	if err != nil { // the files are part of the program, and a test puts them together
		panic("openapi: " + err.Error())
	}
	return document
}

func read(name string) []byte {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return text
}

// Handler serves [API] or [Admin] to whoever asks. The document is put together when it is asked for first. It may be kept for five
// minutes, and is then asked for again by its tag.
func Handler(document func() []byte) fasthttp.RequestHandler {
	made := sync.OnceValues(func() ([]byte, string) {
		text := document()
		sum := sha256.Sum256(text)
		return text, `"` + hex.EncodeToString(sum[:16]) + `"`
	})
	return func(ctx *fasthttp.RequestCtx) {
		text, tag := made()
		ctx.Response.Header.Set(fasthttp.HeaderETag, tag)
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "public, max-age=300")
		if unchanged(ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch), tag) {
			ctx.SetStatusCode(fasthttp.StatusNotModified)
			return
		}
		ctx.SetContentType("application/json")
		ctx.SetBody(text) // which copies it
	}
}

// unchanged tells whether one of the tags that a client has is the current one.
func unchanged(known []byte, tag string) bool {
	for one := range bytes.SplitSeq(known, []byte(",")) {
		one = bytes.TrimPrefix(bytes.TrimSpace(one), []byte("W/"))
		if string(one) == tag || string(one) == "*" {
			return true
		}
	}
	return false
}
