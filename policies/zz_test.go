package policies

import (
	"fmt"
	"github.com/pointsman/pointsman/policies/hostile"
	"runtime"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	stop := false
	go func() {
		for !stop {
			time.Sleep(5 * time.Millisecond)
			runtime.GC()
		}
	}()
	b := pauses()
	time.Sleep(2 * time.Second)
	m, n, o := longest(b, pauses())
	fmt.Println("quiet", m, n, o)
	for _, at := range hostile.Set() {
		if at.When == hostile.AtLoad {
			continue
		}
		host := testHost(t, Config{})
		a := &attacker{Attack: at, host: host}
		a.load()
		a.strike()
		host.forgive(a.Name)
		b := pauses()
		s := time.Now()
		var ts, tb time.Duration
		for i := 0; i < 10; i++ {
			s := time.Now()
			a.strike()
			ts += time.Since(s)
			s = time.Now()
			a.behave()
			tb += time.Since(s)
			host.forgive(a.Name)
		}
		d := time.Since(s)
		m, n, o := longest(b, pauses())
		if d > 5*time.Millisecond {
			fmt.Printf("%-40s %v strike %v behave %v pause max %v n %d over %d\n", a.Name, d/10, ts/10, tb/10, m, n, o)
		}
		host.Unload(a.Name)
	}
	stop = true
}
