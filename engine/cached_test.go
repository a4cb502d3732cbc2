package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/cache"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// versioned are policies in a version.
type versioned struct {
	Policies
	version uint64
}

func (v versioned) Version(string) uint64 { return v.version }

// keyed is what the key of a request in the cache rests on beside its body.
type keyed struct {
	scope                       CacheScope
	account, team, key, tier    string
	policy, pinned, beta, named string
	level                       uint8
	model                       *catalog.Model
	version, time               uint64
	needs                       uint32
	dialect                     dialect.Dialect
	op                          operation
	ignore                      []string
	scopes                      storage.Scopes
}

func (k keyed) keyOf(t testing.TB, body []byte) cache.Key {
	t.Helper()
	e := &Engine{Config: Config{Cache: CacheConfig{Scope: k.scope, Ignore: k.ignore}, Policies: versioned{version: k.version}}, lasting: new(lasting)}
	e.cacheTime.Store(k.time)
	c := &call{
		caller:  &directory.Caller{Account: &storage.Account{ID: k.account, Team: k.team, Tier: storage.AccountTier(k.tier)}, KeyID: k.key, Key: &storage.VirtualKey{Scopes: k.scopes}},
		dialect: k.dialect, op: k.op, policy: k.policy, pinned: k.pinned, beta: k.beta, level: k.level, model: k.model, needs: k.needs, body: body,
	}
	if err := c.env.Parse(envelope.FormChat, body, envelope.DefaultLimits()); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	ctx := new(fasthttp.RequestCtx)
	if k.named != "" {
		ctx.Request.Header.Set("X-Session-Id", k.named)
	}
	c.cache.tenant = e.cacheTenant(c)
	return e.cacheKey(ctx, c)
}

var keyedBase = keyed{scope: CacheByAccount, account: "a", team: "t", key: "k", tier: "free", policy: "eco", level: abi.LevelEco}

const keyedBody = `{"model":"eco","messages":[{"role":"system","content":"Be brief"},{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"image_url","image_url":{"url":"https://x.example/a.png","detail":"low"}}]}],` +
	`"temperature":0,"top_p":0.5,"seed":7,"stop":["a","b"],"max_tokens":100,"stream":true,"stream_options":{"include_usage":true},"user":"u","metadata":{"a":"1"},` +
	`"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"string"}}}}}],"response_format":{"type":"json_object"},"x_unknown":[1,2.5,null,true]}`

// TestP38KeyRestsOnEverything changes one fact after the other.
func TestP38KeyRestsOnEverything(t *testing.T) {
	seen := map[cache.Key]string{keyedBase.keyOf(t, []byte(keyedBody)): "the base"}
	for name, change := range map[string]func(*keyed){
		"scope":        func(k *keyed) { k.scope = CacheByKey },
		"team scope":   func(k *keyed) { k.scope = CacheByTeam },
		"account":      func(k *keyed) { k.account = "b" },
		"tier":         func(k *keyed) { k.tier = "starter" },
		"policy":       func(k *keyed) { k.policy = "mine" },
		"version":      func(k *keyed) { k.version = 2 },
		"time":         func(k *keyed) { k.time = 2 },
		"level":        func(k *keyed) { k.level = abi.LevelBalanced },
		"model":        func(k *keyed) { k.model = &catalog.Model{} },
		"other model":  func(k *keyed) { k.model = &catalog.Model{Number: 1} },
		"provider":     func(k *keyed) { k.pinned = "openai" },
		"beta":         func(k *keyed) { k.beta = "b" },
		"session":      func(k *keyed) { k.named = "s" },
		"metadata":     func(k *keyed) { k.needs = abi.GrantMetadata },
		"metadata, by": func(k *keyed) { k.needs, k.key = abi.GrantMetadata, "k2" },
		"dialect":      func(k *keyed) { k.dialect = dialect.Completions },
		"models":       func(k *keyed) { k.scopes.Models = []string{"m"} },
		"more models":  func(k *keyed) { k.scopes.Models = []string{"m", "n"} },
		"tiers":        func(k *keyed) { k.scopes.Tiers = []uint8{1} },
		"operation":    func(k *keyed) { k.op = opEmbeddings },
	} {
		k := keyedBase
		change(&k)
		key := k.keyOf(t, []byte(keyedBody))
		if other := seen[key]; other != "" {
			t.Errorf("%s: the same key as %s", name, other)
		}
		seen[key] = name
	}
	team, other := keyedBase, keyedBase
	team.scope, other.scope, other.account, other.key = CacheByTeam, CacheByTeam, "b", "k2"
	if team.keyOf(t, []byte(keyedBody)) != other.keyOf(t, []byte(keyedBody)) {
		t.Error("two accounts of a team do not share")
	}
	team.needs, other.needs = abi.GrantMetadata, abi.GrantMetadata
	if team.keyOf(t, []byte(keyedBody)) == other.keyOf(t, []byte(keyedBody)) {
		t.Error("a policy that is told who asks answers another one")
	}
}

// TestP38MutatedBody changes a body at random, as deep as it goes, a thousand times: no two have the same key, but for fields that
// are ignored; and no other tenant ever has it.
func TestP38MutatedBody(t *testing.T) {
	random := rand.New(rand.NewPCG(38, 38))
	seen := map[cache.Key]string{}
	other := keyedBase
	other.account = "b"
	ignoring := keyedBase
	ignoring.ignore = []string{"user", "metadata"}
	for range 1000 {
		var body map[string]any
		if err := json.Unmarshal([]byte(keyedBody), &body); err != nil {
			t.Fatal(err)
		}
		name := slices.Sorted(maps.Keys(body))[random.IntN(len(body))]
		if name == "messages" || name == "tools" || name == "response_format" || name == "stream_options" || name == "x_unknown" {
			mutate(random, body[name])
		} else {
			body[name] = map[string]any{
				"model": fmt.Sprint("m", random.Uint32()), "temperature": random.Float64(), "top_p": random.Float64(), "seed": random.Uint32(), "stop": fmt.Sprint(random.Uint32()),
				"max_tokens": 1 + random.IntN(1e6), "stream": false, "user": fmt.Sprint(random.Uint32()), "metadata": map[string]any{"b": random.Uint32()},
			}[name]
		}
		text, _ := json.Marshal(body)
		key := keyedBase.keyOf(t, text)
		if was, found := seen[key]; found && was != string(text) {
			t.Fatalf("the same key:\n%s\n%s", was, text)
		}
		seen[key] = string(text)
		if seen[other.keyOf(t, text)] != "" {
			t.Fatal("another tenant has the key")
		}
		if same := ignoring.keyOf(t, text) == ignoring.keyOf(t, []byte(sorted(t, keyedBody))); same != (name == "user" || name == "metadata") {
			t.Fatalf("%s changed, the key is the same: %v", name, same)
		}
	}
}

// sorted is a body as it is marshalled.
func sorted(t *testing.T, body string) string {
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// mutate changes one thing in a value.
func mutate(random *rand.Rand, v any) {
	switch v := v.(type) {
	case map[string]any:
		name := slices.Sorted(maps.Keys(v))[random.IntN(len(v))]
		switch v[name].(type) {
		case map[string]any, []any:
			mutate(random, v[name])
		default:
			if name == "role" || name == "type" || name == "include_usage" {
				v[fmt.Sprint("x", random.Uint32())] = true
			} else {
				v[name] = fmt.Sprint(random.Uint64())
			}
		}
	case []any:
		i := random.IntN(len(v))
		switch v[i].(type) {
		case map[string]any, []any:
			mutate(random, v[i])
		default:
			v[i] = random.Uint64()
		}
	}
}

func TestShareOf(t *testing.T) {
	for _, x := range []struct {
		amount storage.Credits
		share  uint32
		want   storage.Credits
	}{
		{0, 500_000, 0}, {1, 1, 1}, {1, 0, 0}, {100, 250_000, 25}, {101, 250_000, 26}, {1<<63 - 1, wholeShare, 1<<63 - 1}, {1<<63 - 1, 500_000, 1 << 62}, {-5, wholeShare, 0},
	} {
		if got := shareOf(x.amount, x.share); got != x.want {
			t.Errorf("%d millionths of %d: %d, want %d", x.share, x.amount, got, x.want)
		}
	}
}

// BenchmarkCacheMiss measures what a request pays that is not found: the reading of its headers, its key and the look-up.
func BenchmarkCacheMiss(b *testing.B) {
	for _, size := range []int{0, 4 << 10, 100 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			e := &Engine{
				Config: Config{Cache: CacheConfig{Scope: CacheByAccount, MaxEntry: 1 << 20}, Policies: versioned{version: 1}},
				cache:  cache.New[cachedAnswer](256<<20, 1<<20), lasting: &lasting{metrics: newMetricSet()},
			}
			body := bytes.Replace([]byte(keyedBody), []byte("Be brief"), bytes.Repeat([]byte("x"), size), 1)
			c := &call{caller: &directory.Caller{Account: &storage.Account{ID: "a"}, KeyID: "k", Key: &storage.VirtualKey{}}, policy: "eco", level: abi.LevelEco, body: body, began: time.Now()}
			if err := c.env.Parse(envelope.FormChat, body, envelope.DefaultLimits()); err != nil {
				b.Fatal(err)
			}
			ctx := new(fasthttp.RequestCtx)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if a, f := e.cached(ctx, c); a != nil || f != nil {
					b.Fatal("found")
				}
			}
		})
	}
}

// silent keeps nothing.
type silent struct {
	Log
	Generations
	States
	Prices
}

func (silent) Append(storage.LogRecord)        {}
func (silent) AppendGeneration(uint64, []byte) {}
func (silent) AppendPrice(string, []byte)      {}

// BenchmarkCacheHit measures a request from the moment it is admitted to its answer, which is found: without reading and writing the
// connection.
func BenchmarkCacheHit(b *testing.B) {
	models, err := catalog.Build([]catalog.Entry{{
		Name: "m", Mode: "chat", Tier: 1, ContextWindow: 1000, Deployments: []catalog.DeploymentEntry{{Provider: "up", Upstream: "m"}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	e, err := New(Config{
		Catalog: models, Providers: []Provider{{Name: "up", Usable: true}}, Log: silent{}, Generations: silent{}, States: silent{}, Prices: silent{}, Policies: versioned{version: 1},
		Cache: CacheConfig{Enabled: true, TTL: time.Hour, MaxBytes: 64 << 20, MaxEntry: 1 << 20, Scope: CacheByAccount},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close(b.Context()) //nolint:errcheck // nothing is under way
	caller := &directory.Caller{Account: &storage.Account{ID: "a", Tier: storage.TierEnterprise}, KeyID: "k", Key: &storage.VirtualKey{}}
	body := []byte(`{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		string(bytes.Repeat([]byte("word "), 400)) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":400,"total_tokens":410}}`)
	request := []byte(`{"model":"eco","messages":[{"role":"user","content":"` + string(bytes.Repeat([]byte("word "), 100)) + `"}],"temperature":0,"max_tokens":100}`)
	ask := func(ctx *fasthttp.RequestCtx) (*call, *answer) {
		c := e.begin(ctx)
		c.caller, c.body, c.policy, c.level = caller, request, "eco", abi.LevelEco
		if err := c.env.Parse(envelope.FormChat, request, envelope.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
		e.inflight.Add(1)
		a, _ := e.cached(ctx, c)
		return c, a
	}
	ctx := new(fasthttp.RequestCtx)
	first, _ := ask(ctx)
	first.cache.said.Add(dialect.Chat, body)
	e.put(first, &answer{deployment: e.deployments[0]}, cachedAnswer{body: body})
	e.finish(first)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		c, a := ask(ctx)
		if a == nil {
			b.Fatal("not found")
		}
		e.reply(ctx, c, a)
	}
}
