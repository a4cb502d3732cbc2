package outcomes

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestHull(t *testing.T) {
	for name, c := range map[string]struct {
		points []point
		want   chain
	}{
		"two":                      {[]point{{2, 0.8}, {1, 0.5}}, chain{{1, 0.5}, {2, 0.8}}},
		"one below the line":       {[]point{{1, 0.5}, {2, 0.6}, {3, 0.9}}, chain{{1, 0.5}, {3, 0.9}}},
		"one above the line":       {[]point{{1, 0.5}, {2, 0.8}, {3, 0.9}}, chain{{1, 0.5}, {2, 0.8}, {3, 0.9}}},
		"dearer and worse":         {[]point{{1, 0.5}, {2, 0.4}}, chain{{1, 0.5}}},
		"at the same cost":         {[]point{{1, 0.5}, {1, 0.7}}, chain{{1, 0.7}}},
		"one that undoes others":   {[]point{{0, 0}, {1, 0.5}, {2, 0.7}, {3, 2}}, chain{{0, 0}, {3, 2}}},
		"the best is the cheapest": {[]point{{1, 0.9}, {2, 0.5}, {3, 0.7}}, chain{{1, 0.9}}},
	} {
		if got := newChain(c.points).hull(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestHullIsTheBestToss compares the hull with every toss between two of many points.
func TestHullIsTheBestToss(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		points := make([]point, 1+random.IntN(8))
		for i := range points {
			points[i] = point{float64(random.IntN(6)), float64(random.IntN(6))}
		}
		hull := newChain(points).hull()
		for x := hull[0].x; x <= 6; x += 0.25 {
			best := math.Inf(-1)
			for _, p := range points {
				if p.x <= x {
					best = max(best, p.y)
				}
				for _, q := range points {
					if p.x < q.x && p.x <= x && x <= q.x {
						best = max(best, p.y+(q.y-p.y)*(x-p.x)/(q.x-p.x))
					}
				}
			}
			if math.Abs(hull.at(x)-best) > 1e-9 {
				t.Fatalf("points %v at %v: %v, the best toss has %v", points, x, hull.at(x), best)
			}
		}
	}
}

func TestChain(t *testing.T) {
	c := newChain([]point{{1, 0}, {3, 1}, {4, 0.5}})
	for x, want := range map[float64]float64{0: 0, 1: 0, 2: 0.5, 3: 1, 3.5: 0.75, 4: 0.5, 9: 0.5} {
		if got := c.at(x); got != want {
			t.Errorf("at %v: %v, want %v", x, got, want)
		}
	}
	for _, r := range []struct{ from, to, want float64 }{{1, 3, 0.5}, {1, 4, 1.75 / 3}, {2, 3, 0.75}, {0, 1, 0}, {2.5, 3.5, (0.875*0.5 + 0.875*0.5)}} {
		if got := c.mean(r.from, r.to); math.Abs(got-r.want) > 1e-12 {
			t.Errorf("mean from %v to %v: %v, want %v", r.from, r.to, got, r.want)
		}
	}
	if !math.IsNaN(c.mean(2, 2)) {
		t.Error("there is a mean of nothing")
	}
	for y, want := range map[float64]float64{-1: 1, 0: 1, 0.5: 2, 1: 3} {
		if got := c.reaches(y); got != want {
			t.Errorf("reaches %v at %v, want %v", y, got, want)
		}
	}
	if !math.IsNaN(c.reaches(1.5)) {
		t.Error("it reaches what it does not")
	}
}
