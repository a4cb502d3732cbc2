package directory

import (
	"errors"
	"testing"

	"github.com/pointsman/pointsman/storage"
)

// TestCaching keeps an account, and a key, out of the cache until it is let in again, whatever was loaded anew meanwhile.
func TestCaching(t *testing.T) {
	d, m, reopen := open(t)
	if _, err := d.CreateAccount("a", "", ""); err != nil {
		t.Fatal(err)
	}
	k, text, err := d.CreateKey("a", "")
	if err != nil {
		t.Fatal(err)
	}
	out := func(d *Directory) bool {
		c, ok := d.Caller([]byte(text))
		if !ok {
			t.Fatal("the key is not known")
		}
		return c.NoCache
	}
	for i, change := range []func(bool) error{
		func(allowed bool) error { return d.SetAccountCaching("a", allowed) },
		func(allowed bool) error { return d.SetKeyCaching(k.ID, allowed) },
	} {
		for _, allowed := range []bool{false, true} {
			if err := change(allowed); err != nil || out(d) == allowed || out(reopen()) == allowed {
				t.Errorf("change %d: allowed %v gives %v, %v", i, allowed, !out(d), err)
			}
		}
	}
	if !errors.Is(d.SetAccountCaching("b", false), storage.ErrNotFound) || !errors.Is(d.SetKeyCaching("b", false), storage.ErrNotFound) {
		t.Error("what does not exist was changed")
	}
	m.fail = errors.New("disk")
	if d.SetAccountCaching("a", false) == nil || out(d) {
		t.Error("a change holds that could not be stored")
	}
}

func TestAppendOwnKeys(t *testing.T) {
	c := &Caller{own: map[string]*storage.ProviderKey{"openai": {ID: "byok_2"}, "groq": {ID: "byok_1"}}}
	if got := string(c.AppendOwnKeys([]byte("x"))); got != "x\x00groq\x00byok_1\x00openai\x00byok_2" {
		t.Errorf("%q", got)
	}
	if got := new(Caller).AppendOwnKeys(nil); got != nil {
		t.Errorf("without keys: %q", got)
	}
}
