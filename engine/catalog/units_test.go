package catalog

import (
	"math"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

func TestUnitsArePricedExactly(t *testing.T) {
	for name, tc := range map[string]struct {
		price  int64 // nano-dollars
		units  Units
		cost   storage.NanoUSD
		model  Model
		charge storage.Credits
	}{
		"an image":                          {40_000_000, UnitMicros, 40_000_000, Model{UnitRate: 500_000}, 500_000},
		"three images, by unit and cost":    {40_000_000, 3 * UnitMicros, 120_000_000, Model{UnitRate: 500_000, CostRate: 10_000_000}, 2_700_000},
		"a character, rounded":              {15_000_000_000, 1, 15_000, Model{UnitRate: 1}, 1},
		"a tenth of a minute":               {6_000_000, UnitMicros / 10, 600_000, Model{CostRate: 100_000_000}, 60_000},
		"less than a nano-dollar":           {1, 1, 0, Model{CostRate: 1}, 0},
		"half a nano-dollar":                {1, UnitMicros / 2, 1, Model{CostRate: 1}, 1},
		"nothing":                           {40_000_000, 0, 0, Model{UnitRate: 1}, 0},
		"a negative number":                 {40_000_000, -5, 0, Model{UnitRate: 1}, 0},
		"beyond what a number holds":        {MaxUnitPrice, math.MaxInt64, math.MaxInt64, Model{UnitRate: MaxUnitRate, CostRate: MaxUnitRate}, math.MaxInt64},
		"no price and no rate":              {0, UnitMicros, 0, Model{}, 0},
		"charged by the unit, costs nought": {0, UnitMicros, 0, Model{UnitRate: 7, CostRate: 1}, 7},
	} {
		price := Price{Unit: tc.price}
		cost := price.UnitCost(tc.units)
		if charge := tc.model.ChargeUnits(tc.units, cost, 0); cost != tc.cost || charge != tc.charge {
			t.Errorf("%s: costs %s, charges %s; want %s and %s", name, cost, charge, tc.cost, tc.charge)
		}
	}
}

func TestUnitsAreForModesThatHaveOne(t *testing.T) {
	entry := func(mode string, change func(*Entry)) []Entry {
		e := Entry{Name: "m", Mode: mode, Tier: 1, Deployments: []DeploymentEntry{{Provider: "p", Upstream: "u"}}}
		change(&e)
		return []Entry{e}
	}
	for name, tc := range map[string]struct {
		entries []Entry
		want    string
	}{
		"an image":              {entry("image", func(e *Entry) { e.CreditsPerUnit, e.Deployments[0].Price.Unit = 5, 7 }), ""},
		"a rate of a chat":      {entry("chat", func(e *Entry) { e.CreditsPerUnit = 5 }), "has no unit"},
		"a price of a chat":     {entry("", func(e *Entry) { e.Deployments[0].Price.Unit = 5 }), "no price by the unit"},
		"cost of an embedding":  {entry("embedding", func(e *Entry) { e.CreditsPerUSD, e.CreditsPerUnit = 5, 5 }), "has no unit"},
		"a negative rate":       {entry("image", func(e *Entry) { e.CreditsPerUnit = -5 }), "not between"},
		"a negative price":      {entry("image", func(e *Entry) { e.Deployments[0].Price.Unit = -5 }), "not between"},
		"a rate beyond bounds":  {entry("image", func(e *Entry) { e.CreditsPerUSD = MaxUnitRate + 1 }), "not between"},
		"a price beyond bounds": {entry("image", func(e *Entry) { e.Deployments[0].Price.Unit = MaxUnitPrice + 1 }), "not between"},
	} {
		c, err := Build(tc.entries)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (c.Models[0].UnitRate != 5 || !c.Models[0].ByUnit()) {
			t.Errorf("%s: %+v", name, c.Models[0])
		}
	}
}

// A model that is charged by the unit is not cheap because its tokens are.
func TestStarterAccountsDoNotGetModelsByTheUnit(t *testing.T) {
	m := Model{Tier: TierSpecialized, Mode: abi.ModeImage, UnitRate: 1}
	if m.AllowedFor(storage.TierStarter) || !m.AllowedFor(storage.TierEnterprise) {
		t.Error("a starter account may use it, or an enterprise one may not")
	}
}

func TestParseUSD(t *testing.T) {
	for text, want := range map[string]int64{"0.04": 40_000_000, "15": 15_000_000_000, "0": 0, "0.000000001": 1} {
		if got, err := ParseUSD(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1", "0.0000000001", "1000001", "x", ""} {
		if got, err := ParseUSD(text); err == nil {
			t.Errorf("%q gives %d", text, got)
		}
	}
}
