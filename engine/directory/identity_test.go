package directory

import (
	"testing"

	"github.com/pointsman/pointsman/storage"
)

func TestAppendOwnKeys(t *testing.T) {
	c := &Caller{own: map[string]*storage.ProviderKey{"openai": {ID: "byok_2"}, "groq": {ID: "byok_1"}}}
	if got := string(c.AppendOwnKeys([]byte("x"))); got != "x\x00groq\x00byok_1\x00openai\x00byok_2" {
		t.Errorf("%q", got)
	}
	if got := new(Caller).AppendOwnKeys(nil); got != nil {
		t.Errorf("without keys: %q", got)
	}
}
