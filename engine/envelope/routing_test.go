package envelope

import (
	"reflect"
	"testing"
)

func TestRoutingIsRead(t *testing.T) {
	none := func(r Routing) *Routing {
		r.MaxPrompt, r.MaxCompletion = NoMaxPrice, NoMaxPrice
		return &r
	}
	for name, tc := range map[string]struct {
		members string
		want    *Routing
	}{
		"absent":       {``, nil},
		"null":         {`,"provider":null,"models":null`, nil},
		"empty":        {`,"provider":{}`, nil},
		"models":       {`,"models":["a/b:free","c"]`, none(Routing{Models: []string{"a/b:free", "c"}})},
		"names":        {`,"provider":{"order":["OpenAI","together"],"only":["x"],"ignore":["\u0079"]}`, none(Routing{Order: []string{"OpenAI", "together"}, Only: []string{"x"}, Ignore: []string{"y"}})},
		"switches":     {`,"provider":{"allow_fallbacks":false,"require_parameters":true,"data_collection":"deny","zdr":true}`, none(Routing{NoFallback: true, RequireParameters: true, DenyCollection: true, ZeroRetention: true})},
		"other way":    {`,"provider":{"allow_fallbacks":true,"require_parameters":false,"data_collection":"allow","zdr":false}`, none(Routing{})},
		"nulls":        {`,"provider":{"order":null,"allow_fallbacks":null,"data_collection":null,"sort":null,"max_price":null,"preferred_max_latency":null}`, none(Routing{})},
		"sort":         {`,"provider":{"sort":"throughput"}`, none(Routing{Sort: SortThroughput})},
		"sort object":  {`,"provider":{"sort":{"by":"latency","partition":"none"}}`, none(Routing{Sort: SortLatency, AcrossModels: true})},
		"prices":       {`,"provider":{"max_price":{"prompt":1.5,"completion":"0.25","request":0,"image":1}}`, &Routing{MaxPrompt: 1_500_000, MaxCompletion: 250_000}},
		"thresholds":   {`,"provider":{"preferred_min_throughput":50,"preferred_max_latency":{"p90":3,"p99":9}}`, none(Routing{MinThroughput: 50, MaxLatency: 3})},
		"not honoured": {`,"provider":{"quantizations":["fp8"],"enforce_distillable_text":true}`, none(Routing{Unserved: []string{"provider.quantizations", "provider.enforce_distillable_text"}})},
	} {
		t.Run(name, func(t *testing.T) {
			for form, body := range map[Form]string{
				FormChat: talk(tc.members), FormCompletions: `{"prompt":"x"` + tc.members + `}`, FormResponses: `{"input":"x"` + tc.members + `}`,
				FormMessages: `{"max_tokens":1,"messages":[{"role":"user","content":"hi"}]` + tc.members + `}`,
			} {
				var e Envelope
				if err := e.Parse(form, []byte(body), DefaultLimits()); err != nil {
					t.Fatal(err)
				}
				want := tc.want
				if name == "empty" {
					want = none(Routing{})
				}
				if !reflect.DeepEqual(e.Routing, want) {
					t.Errorf("form %d: got %+v, want %+v", form, e.Routing, want)
				}
				if sent := string(e.Splice(nil, []byte(body), Edits{})); tc.members != "" && sent != body[:len(body)-len(tc.members)-1]+"}" {
					t.Errorf("form %d: %s is sent", form, sent)
				}
			}
		})
	}
}

func TestRoutingThatIsRefused(t *testing.T) {
	for members, want := range map[string]string{
		`"provider":[]`:                                             "provider invalid_value",
		`"Provider":{}`:                                             "Provider unknown_parameter",
		`"MODELS":["a"]`:                                            "MODELS unknown_parameter",
		`"provider":{"Order":["a"]}`:                                "provider.Order unknown_parameter",
		`"provider":{"sortt":"price"}`:                              "provider.sortt unknown_parameter",
		`"provider":{"order":"openai"}`:                             "provider.order invalid_value",
		`"provider":{"only":[1]}`:                                   "provider.only[0] invalid_value",
		`"provider":{"ignore":[""]}`:                                "provider.ignore[0] invalid_value",
		`"provider":{"allow_fallbacks":0}`:                          "provider.allow_fallbacks invalid_value",
		`"provider":{"data_collection":"maybe"}`:                    "provider.data_collection invalid_value",
		`"provider":{"sort":"cheap"}`:                               "provider.sort invalid_value",
		`"provider":{"sort":{"on":"price"}}`:                        "provider.sort.on unknown_parameter",
		`"provider":{"max_price":{"prompt":-1}}`:                    "provider.max_price.prompt invalid_value",
		`"provider":{"max_price":{"prompt":"cheap"}}`:               "provider.max_price.prompt invalid_value",
		`"provider":{"max_price":{"output":1}}`:                     "provider.max_price.output unknown_parameter",
		`"provider":{"preferred_max_latency":"soon"}`:               "provider.preferred_max_latency invalid_value",
		`"models":"a"`:                                              "models invalid_value",
		`"models":[]`:                                               "models invalid_value",
		`"models":["a b"]`:                                          "models model_not_found",
		`"provider":{"order":["a"],"order":["b"]}`:                  "provider.order duplicate_key",
		`"provider":{"preferred_min_throughput":{"p1":1}}`:          "provider.preferred_*.p1 unknown_parameter",
		`"provider":{"sort":{"by":"price","partition":"provider"}}`: "provider.sort.partition invalid_value",
	} {
		var e Envelope
		err := e.Parse(FormChat, []byte(talk(","+members)), DefaultLimits())
		if err == nil || err.Param+" "+err.Code != want {
			t.Errorf("%s: got %+v, want %s", members, err, want)
		}
	}
}

// A request without wishes pays nothing for them.
func TestNoRoutingAllocatesNothing(t *testing.T) {
	body := []byte(talk(`,"model":"m","temperature":1`))
	var e Envelope
	if n := testing.AllocsPerRun(100, func() {
		if err := e.Parse(FormChat, body, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
