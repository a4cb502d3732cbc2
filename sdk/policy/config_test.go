package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func TestConfig(t *testing.T) {
	text, err := policy.FormatConfig(map[string]string{"providers": "local,groq", "min_quality": "0.6", "band": "0,1", "note": ""})
	if want := "band=0,1\nmin_quality=0.6\nnote=\nproviders=local,groq\n"; err != nil || text != want {
		t.Fatalf("got %q, %v", text, err)
	}
	c, err := policy.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.List("providers"); !slices.Equal(got, []string{"local", "groq"}) || c.List("note") != nil || c.List("absent") != nil {
		t.Errorf("lists: %q", got)
	}
	if n, err := c.Number("min_quality", 1); n != 0.6 || err != nil {
		t.Errorf("number: %v, %v", n, err)
	}
	if n, err := c.Number("absent", 7); n != 7 || err != nil {
		t.Errorf("absent number: %v, %v", n, err)
	}
	if _, err := c.Number("providers", 1); !errors.Is(err, policy.ErrConfig) {
		t.Errorf("no number: %v", err)
	}
	flags, err := policy.ParseConfig("a=true\nb=1\nc=false\nd=0\ne=yes\n")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a": true, "b": true, "c": false, "d": false, "absent": true} {
		if got, err := flags.Bool(key, true); got != want || err != nil {
			t.Errorf("%s: %v, %v", key, got, err)
		}
	}
	if _, err := flags.Bool("e", true); !errors.Is(err, policy.ErrConfig) {
		t.Errorf("no truth value: %v", err)
	}
	if c.Text("absent", "x") != "x" || len(c.Keys()) != 4 {
		t.Errorf("keys: %q", c.Keys())
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, text := range []string{"no equals sign\n", "=no key\n", "a=1\na=2\n", "a=1\n\n"} {
		if _, err := policy.ParseConfig(text); !errors.Is(err, policy.ErrConfig) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, params := range []map[string]string{{"": "x"}, {"a=b": "x"}, {"a\n": "x"}, {"a": "x\ny"}} {
		if _, err := policy.FormatConfig(params); !errors.Is(err, policy.ErrConfig) {
			t.Errorf("%q: %v", params, err)
		}
	}
}

// TestReasonNames: every code of the contract has a name of its own and a sentence.
func TestReasonNames(t *testing.T) {
	seen := map[string]uint16{}
	for code := range uint16(200) {
		name := policy.ReasonName(code)
		if name == "unknown" {
			continue
		}
		if before, twice := seen[name]; twice {
			t.Errorf("%q names %d and %d", name, before, code)
		}
		if seen[name] = code; policy.ReasonText(code) == "" {
			t.Errorf("%d has no text", code)
		}
	}
	if len(seen) != 10+9+12 {
		t.Errorf("%d codes have names", len(seen))
	}
	if policy.ReasonName(1024) != "policy" {
		t.Error("a policy's own reason is not named so")
	}
}

func TestNames(t *testing.T) {
	for code := range uint8(9) {
		if back, ok := policy.ParseTask(policy.TaskName(code)); !ok || back != code {
			t.Errorf("task %d: %d, %v", code, back, ok)
		}
	}
	for code := uint8(1); code <= abi.LevelCustom; code++ {
		if back, ok := policy.ParseLevel(policy.LevelName(code)); !ok || back != code {
			t.Errorf("level %d: %d, %v", code, back, ok)
		}
	}
	for code := range uint8(4) {
		if back, ok := policy.ParseLatency(policy.LatencyName(code)); !ok || back != code {
			t.Errorf("latency %d: %d, %v", code, back, ok)
		}
	}
	names := policy.CapabilityNames(abi.CapVision | abi.CapAudio)
	if !slices.Equal(names, []string{"vision", "audio"}) {
		t.Errorf("capabilities %q", names)
	}
	if bit, ok := policy.ParseCapability("audio"); !ok || bit != abi.CapAudio {
		t.Errorf("audio is %d", bit)
	}
	if _, ok := policy.ParseLevel(""); ok {
		t.Error("the empty name is a level")
	}
	if policy.TaskName(99) != "unknown" || policy.HealthName(99) != "unknown" || policy.LevelName(99) != "" {
		t.Error("codes out of range have names")
	}
}

func ExampleReasonText() {
	fmt.Println(policy.ReasonName(abi.ReasonContext), "-", policy.ReasonText(abi.ReasonContext))
	// Output: context - the prompt does not fit its context window
}

func ExampleConfig() {
	c, err := policy.ParseConfig("band=0,1\nmin_quality=0.6\n")
	if err != nil {
		panic(err)
	}
	least, _ := c.Number("min_quality", 0)
	fmt.Println(c.List("band"), least)
	// Output: [0 1] 0.6
}
