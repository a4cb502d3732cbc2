package badgerdb

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/storagetest"
)

// settings are what somebody may do to a machine's clock.
var settings = []time.Duration{
	time.Second, -time.Second, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour,
}

// TestF31Clock: a hold ends when its time has passed, not when a clock that was set says so.
func TestF31Clock(t *testing.T) {
	schedules := 200
	if os.Getenv("POINTSMAN_FAULTS") == "full" {
		schedules = 10_000
	}
	clock := storagetest.NewClock()
	s := openStore(t, Config{Clock: clock.Now})
	fund(t, s, "a", 1_000_000)
	random := rand.New(rand.NewPCG(31, 31))
	early, late, sets := 0, 0, 0
	for range schedules {
		life := time.Duration(2+random.IntN(1800)) * time.Second
		id := storagetest.NewRequest()
		if _, err := s.Reserve(storage.Hold{Request: id, Account: "a", Amount: 5, Expires: clock.Now().Add(life)}); err != nil {
			t.Fatal(err)
		}
		held := func() bool {
			s.sweep()
			b, err := s.Balance("a")
			if err != nil {
				t.Fatal(err)
			}
			return b.Held > 0
		}
		for passed := time.Duration(0); ; {
			if random.IntN(2) == 0 {
				clock.Set(settings[random.IntN(len(settings))])
				sets++
			}
			if passed < life-time.Second && !held() {
				early++
				break
			}
			if passed > life+time.Second {
				if held() {
					late++
				}
				break
			}
			more := min(time.Duration(1+random.Int64N(int64(life/2))), max(life-passed-time.Second-1, 2*time.Second+1))
			clock.Pass(more)
			passed += more
		}
	}
	if early+late > 0 {
		t.Errorf("of %d holds %d ended too early and %d too late", schedules, early, late)
	}
	if b, err := s.Balance("a"); err != nil || b.Held != 0 || b.Posted != 1_000_000 {
		t.Errorf("%+v, %v", b, err)
	}
	t.Logf("figure: %d holds under a clock that was set %d times, by up to ten years: %d ended early, %d late, by more than a second", schedules, sets, early, late)
}
