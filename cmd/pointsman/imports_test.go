package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// importRule says what the packages it matches may import beside the standard library. A name that ends in /... stands for
// the packages below it as well.
type importRule struct {
	packages string
	own      []string // packages of this module
	not      []string // exceptions from own
	modules  []string // other modules, by the beginning of their path
	reason   string
}

// The longest match decides. To use a new module in a package, add it here and say why in the commit.
var importRules = []importRule{
	{
		packages: "cmd/...", own: []string{"..."}, modules: []string{"..."},
	},
	{
		packages: "engine",
		own:      []string{"engine/...", "sdk/abi", "sdk/policy", "sdk/provider", "storage", "storage/slab"},
		not:      []string{"engine/admin"},
		modules:  []string{"github.com/valyala/fasthttp", "github.com/go-json-experiment/json", "github.com/VictoriaMetrics/metrics", "github.com/cespare/xxhash/v2", "golang.org/x/sys"},
		reason:   "the engine declares the interfaces it needs; what runs Wasm, plugins and databases is given to it by cmd",
	},
	{
		packages: "engine/...",
		own:      []string{"engine/...", "sdk/abi", "sdk/policy", "sdk/provider", "storage"},
		not:      []string{"engine", "engine/admin"},
		modules:  []string{"github.com/valyala/fasthttp", "github.com/go-json-experiment/json", "golang.org/x/sys"},
		reason:   "the engine's packages are used by it and know neither the engine nor what runs Wasm, plugins and databases",
	},
	{
		packages: "engine/directory",
		own:      []string{"engine/vault", "sdk/provider", "storage", "storage/slab"},
		reason:   "the directory keeps storage's records in memory, as many as there are",
	},
	{
		packages: "engine/report",
		own:      []string{"storage"},
		modules:  []string{"github.com/parquet-go/parquet-go"},
		reason:   "tables of usage are made of storage's records alone; Parquet is written by what knows Parquet",
	},
	{
		packages: "engine/admin",
		own:      []string{"engine/...", "sdk/provider", "storage"},
		modules:  []string{"github.com/valyala/fasthttp", "github.com/go-json-experiment/json"},
		reason:   "the admin API is a face of the engine and reaches everything through it",
	},
	{
		packages: "policies/...",
		own:      []string{"policies/...", "sdk/abi", "sdk/policy"},
		modules:  []string{"github.com/tetratelabs/wazero", "golang.org/x/sys"},
		reason:   "the policy host knows the ABI alone, so that a policy behaves the same in the gateway, in replay and in a test",
	},
	{
		packages: "policies/signing",
		own:      []string{"sdk/abi", "sdk/policy"},
		modules:  []string{"aead.dev/minisign"},
		reason:   "a signature is checked by what knows signatures and the names of grants, and nothing else",
	},
	{
		packages: "policies/depot",
		own:      []string{"policies", "policies/signing", "sdk/abi", "sdk/policy", "sdk/policy/policytest"},
		reason:   "the depot changes modules on the host; it knows neither who is served nor how it is reached",
	},
	{
		packages: "policies/builtin",
		reason:   "the built-in policies are modules to embed; nothing in the gateway may treat them specially",
	},
	{
		packages: "plugins/...",
		own:      []string{"plugins/...", "sdk/provider", "sdk/provider/rpc"},
		modules:  []string{"github.com/hashicorp/go-plugin", "github.com/hashicorp/go-hclog", "golang.org/x/sys"},
		reason:   "the plugin host and the built-in adapters use what a plugin's vendor has, and nothing of the gateway",
	},
	{
		packages: "storage",
		reason:   "storage holds records and sentinel errors, which everything may import, so it imports nothing",
	},
	{
		packages: "storage/fields",
		reason:   "storage/fields knows bytes only",
	},
	{
		packages: "storage/slab",
		reason:   "storage/slab knows allocations only",
	},
	{
		packages: "storage/ledger",
		own:      []string{"storage", "storage/fields", "storage/slab"},
		reason:   "the ledger decides without knowing where its lines are kept",
	},
	{
		packages: "storage/storagetest",
		own:      []string{"storage"},
		reason:   "the conformance suite runs over every store and prefers none",
	},
	{
		packages: "storage/powerloss",
		modules:  []string{"golang.org/x/sys"},
		reason:   "what a process makes durable is seen from its system calls; a store that explained itself would not be tested",
	},
	{
		packages: "storage/badgerdb",
		own:      []string{"storage", "storage/fields", "storage/ledger"},
		modules:  []string{"github.com/dgraph-io/badger/v4", "github.com/klauspost/compress/s2", "golang.org/x/sys"},
		reason:   "a store keeps storage's records and the ledger's lines, and knows no other package",
	},
	{
		packages: "storage/postgres",
		own:      []string{"storage", "storage/fields", "storage/ledger"},
		modules:  []string{"github.com/jackc/pgx/v5"},
		reason:   "a store keeps storage's records and the ledger's lines, and knows no other package",
	},
	{
		packages: "sdk/...",
		own:      []string{"sdk/abi", "sdk/policy"},
		reason:   "authors of policies import the SDK: it brings them no other module",
	},
	{
		packages: "sdk/abi",
		reason:   "the ABI is the bottom of everything",
	},
	{
		packages: "sdk/provider",
		reason:   "a vendor's adapter can be tested with the standard library alone; the wire is in sdk/provider/rpc",
	},
	{
		packages: "sdk/provider/rpc/...",
		own:      []string{"sdk/provider", "sdk/provider/rpc/..."},
		modules:  []string{"github.com/hashicorp/go-plugin", "github.com/hashicorp/go-hclog", "google.golang.org/grpc", "google.golang.org/protobuf"},
		reason:   "this is the wire of provider plugins and nothing else",
	},
	{
		packages: "sdk/provider/providertest",
		own:      []string{"sdk/provider", "sdk/provider/rpc/..."},
		modules:  []string{"github.com/hashicorp/go-plugin", "github.com/hashicorp/go-hclog", "google.golang.org/grpc", "google.golang.org/protobuf"},
		reason:   "the conformance kit talks to a plugin as the gateway does, without the gateway",
	},
	{
		packages: "examples/...",
		own:      []string{"sdk/..."},
		reason:   "an example has what a stranger has: the SDK",
	},
	{
		packages: "examples/clients/judges/go",
		modules:  []string{"github.com/openai/openai-go/v3", "github.com/sashabaranov/go-openai"},
		reason:   "the judges are clients of the gateway, and a module of their own",
	},
}

// forbiddenModules are imported nowhere, tests included.
var forbiddenModules = map[string]string{
	"github.com/stretchr/testify": "tests use the standard library alone",
	"github.com/google/go-cmp":    "tests use the standard library alone",
	"go.uber.org/mock":            "tests use small fakes of their own",
	"github.com/bytedance/sonic":  "lenient parsers disagree about duplicate keys: one model is priced and another served",
	"github.com/goccy/go-json":    "lenient parsers disagree about duplicate keys: one model is priced and another served",
	"github.com/tidwall/gjson":    "lenient parsers disagree about duplicate keys: one model is priced and another served",
	"github.com/tidwall/sjson":    "lenient parsers disagree about duplicate keys: one model is priced and another served",
	"github.com/valyala/fastjson": "lenient parsers disagree about duplicate keys: one model is priced and another served",
}

// TestImports keeps the packages in their layers.
func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, fault := range checkImports(f) {
			t.Error(fault)
		}
	}
}

// checkImports lists the imports of a file that its package's rule does not allow. Tests may import any package of the
// module but those of cmd, which is above all others.
func checkImports(f *sourceFile) (faults []string) {
	rule, known := ruleOf(f.dir())
	if !known {
		return []string{fmt.Sprintf("%s: no import rule is written for package %s; add one to imports_test.go", f.path, f.dir())}
	}
	for _, spec := range f.ast.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has seen to it
		}
		if reason := refusal(f, rule, name); reason != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: %s must not import %s: %s", f.path, f.line(spec.Pos()), f.dir(), name, reason))
		}
	}
	return faults
}

// refusal is the reason why a file may not import a package; "" if it may.
func refusal(f *sourceFile, rule importRule, name string) string {
	for module, why := range forbiddenModules {
		if below(module, name) {
			return why
		}
	}
	own, isOwn := strings.CutPrefix(name, modulePath+"/")
	host, _, _ := strings.Cut(name, "/")
	switch {
	case f.isTest() && isOwn && matches("cmd/...", own) && !matches("cmd/...", f.path):
		return "cmd is above all other packages, also above their tests"
	case f.isTest(), !isOwn && !strings.Contains(host, "."): // a name without a dot is the standard library's
		return ""
	case isOwn && matchesAny(rule.own, own) && !slices.Contains(rule.not, own):
		return ""
	case !isOwn && slices.ContainsFunc(rule.modules, func(m string) bool { return m == "..." || below(m, name) }):
		return ""
	}
	return rule.reason
}

// ruleOf finds the rule of a package: the longest that matches, an exact one before a pattern of equal length.
func ruleOf(dir string) (rule importRule, found bool) {
	length := func(r importRule) int { return len(strings.TrimSuffix(r.packages, "/...")) }
	for _, r := range importRules {
		exact := !strings.HasSuffix(r.packages, "...")
		if matches(r.packages, dir) && (!found || length(r) > length(rule) || length(r) == length(rule) && exact) {
			rule, found = r, true
		}
	}
	return rule, found
}

// matches tells whether name is the pattern, or below it if the pattern ends in "...".
func matches(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "...")
	if !open {
		return name == pattern
	}
	return strings.HasPrefix(name+"/", prefix)
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// below tells whether a package is in a module, or is the module itself.
func below(module, name string) bool { return strings.HasPrefix(name+"/", module+"/") }

// TestImportCheck plants imports and sees them found, or not.
func TestImportCheck(t *testing.T) {
	for _, c := range []struct {
		name, path, imports string
		want                string // part of the fault; "" for none
	}{
		{"engine may use its own packages", "engine/a.go", `"github.com/pointsman/pointsman/engine/catalog"`, ""},
		{"engine and wazero", "engine/a.go", `"github.com/tetratelabs/wazero"`, "is given to it by cmd"},
		{"engine and a package of wazero", "engine/a.go", `"github.com/tetratelabs/wazero/api"`, "is given to it by cmd"},
		{"engine and go-plugin", "engine/a.go", `"github.com/hashicorp/go-plugin"`, "is given to it by cmd"},
		{"engine and badger", "engine/a.go", `"github.com/dgraph-io/badger/v4"`, "is given to it by cmd"},
		{"engine and pgx", "engine/sub/a.go", `"github.com/jackc/pgx/v5"`, "know neither"},
		{"engine and a store", "engine/a.go", `"github.com/pointsman/pointsman/storage/badgerdb"`, "is given to it by cmd"},
		{"engine and the policy host", "engine/a.go", `"github.com/pointsman/pointsman/policies"`, "is given to it by cmd"},
		{"engine and the wire of plugins", "engine/a.go", `"github.com/pointsman/pointsman/sdk/provider/rpc"`, "is given to it by cmd"},
		{"engine and its admin API", "engine/a.go", `"github.com/pointsman/pointsman/engine/admin"`, "is given to it by cmd"},
		{"a part of the engine and the engine", "engine/sse/a.go", `"github.com/pointsman/pointsman/engine"`, "know neither the engine"},
		{"a part of the engine and another", "engine/directory/a.go", `"github.com/pointsman/pointsman/engine/vault"`, ""},
		{"engine/admin and the engine", "engine/admin/a.go", `"github.com/pointsman/pointsman/engine"`, ""},
		{"engine/admin and a policy", "engine/admin/a.go", `"github.com/pointsman/pointsman/policies"`, "face of the engine"},
		{"storage and anything", "storage/a.go", `"github.com/pointsman/pointsman/sdk/abi"`, "imports nothing"},
		{"a store and the engine", "storage/badgerdb/a.go", `"github.com/pointsman/pointsman/engine"`, "knows no other package"},
		{"policies and the engine", "policies/a.go", `"github.com/pointsman/pointsman/engine/record"`, "knows the ABI alone"},
		{"the built-in policies and wazero", "policies/builtin/a.go", `"github.com/tetratelabs/wazero"`, "modules to embed"},
		{"an adapter and the engine", "plugins/openai/a.go", `"github.com/pointsman/pointsman/engine/sse"`, "nothing of the gateway"},
		{"sdk/policy and a module", "sdk/policy/a.go", `"golang.org/x/sys/unix"`, "no other module"},
		{"sdk/provider and its wire", "sdk/provider/a.go", `"github.com/pointsman/pointsman/sdk/provider/rpc"`, "standard library alone"},
		{"the wire and grpc", "sdk/provider/rpc/a.go", `"google.golang.org/grpc/codes"`, ""},
		{"an example and the engine", "examples/policy-x/a.go", `"github.com/pointsman/pointsman/engine"`, "what a stranger has"},
		{"a name that only begins alike", "engine/a.go", `"github.com/valyala/fasthttprouter"`, "is given to it by cmd"},
		{"the standard library", "storage/a.go", `"encoding/json"`, ""},
		{"cmd and everything", "cmd/pointsman/a.go", `"github.com/dgraph-io/badger/v4"`, ""},
		{"cmd and the admin API", "cmd/pointsman/a.go", `"github.com/pointsman/pointsman/engine/admin"`, ""},
		{"a test and a store", "engine/a_test.go", `"github.com/pointsman/pointsman/storage/badgerdb"`, ""},
		{"a test and cmd", "engine/a_test.go", `"github.com/pointsman/pointsman/cmd/pointsman/config"`, "above all other packages"},
		{"a test and testify", "engine/a_test.go", `"github.com/stretchr/testify/require"`, "standard library alone"},
		{"cmd and a lenient parser", "cmd/pointsman/a.go", `"github.com/tidwall/gjson"`, "disagree"},
		{"an unknown place", "leftovers/a.go", `"fmt"`, "no import rule"},
	} {
		faults := strings.Join(checkImports(parseSource(t, c.path, "package a\n\nimport _ "+c.imports+"\n")), "\n")
		if (c.want == "") != (faults == "") || !strings.Contains(faults, c.want) {
			t.Errorf("%s: found %q, want %q", c.name, faults, c.want)
		}
	}
}
