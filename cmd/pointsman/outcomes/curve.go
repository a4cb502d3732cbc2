package outcomes

import (
	"cmp"
	"math"
	"slices"
)

// point is what some way of choosing comes to: x is its mean cost, or the share of strong calls, y its accuracy.
type point struct{ x, y float64 }

// chain is points by rising x, one at each x: between two lies what choosing between them by chance reaches.
type chain []point

// newChain sorts points; of those at the same x the highest stays.
func newChain(points []point) chain {
	sorted := slices.Clone(points)
	slices.SortFunc(sorted, func(a, b point) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	return slices.CompactFunc(sorted, func(a, b point) bool { return a.x == b.x })
}

// hull is the highest line through a chain's points, which never falls: what chance reaches at most.
func (c chain) hull() chain {
	var h chain
	for _, p := range c {
		if len(h) > 0 && p.y <= h[len(h)-1].y {
			continue // dearer and no better
		}
		for len(h) > 1 && slope(h[len(h)-2], h[len(h)-1]) <= slope(h[len(h)-1], p) {
			h = h[:len(h)-1]
		}
		h = append(h, p)
	}
	return h
}

func slope(a, b point) float64 { return (b.y - a.y) / (b.x - a.x) }

// at is the chain's height at x; beyond its ends it goes on level.
func (c chain) at(x float64) float64 {
	if x <= c[0].x {
		return c[0].y
	}
	for i := 1; i < len(c); i++ {
		if x <= c[i].x {
			return c[i-1].y + slope(c[i-1], c[i])*(x-c[i-1].x)
		}
	}
	return c[len(c)-1].y
}

// mean is the mean height between two x, by the trapezoidal rule, which is exact for lines. NaN if there is nothing between.
func (c chain) mean(from, to float64) float64 {
	if !(from < to) {
		return math.NaN()
	}
	area, last := 0.0, point{from, c.at(from)}
	for _, p := range append(c.between(from, to), point{to, c.at(to)}) {
		area += (p.x - last.x) * (p.y + last.y) / 2
		last = p
	}
	return area / (to - from)
}

func (c chain) between(from, to float64) (inner []point) {
	for _, p := range c {
		if p.x > from && p.x < to {
			inner = append(inner, p)
		}
	}
	return inner
}

// reaches is the least x at which the chain is as high as y; NaN if it is nowhere.
func (c chain) reaches(y float64) float64 {
	if c[0].y >= y {
		return c[0].x
	}
	for i := 1; i < len(c); i++ {
		if c[i].y >= y {
			return c[i-1].x + (y-c[i-1].y)/slope(c[i-1], c[i])
		}
	}
	return math.NaN()
}
