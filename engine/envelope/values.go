package envelope

import (
	"fmt"
	"strconv"

	"github.com/pointsman/pointsman/sdk/abi"
)

// opens tells whether the value is an object or an array, as brace says. Any other is passed over, and is at fault unless it is
// null, which is absent.
func (p *parser) opens(brace byte) bool {
	off, c := p.i, p.peek()
	if c == brace {
		return true
	}
	if c != 'n' {
		what := "an object"
		if brace == '[' {
			what = "an array"
		}
		p.invalid(off, "", "must be "+what)
	}
	p.value()
	return false
}

// flag reads a boolean; null is absent.
func (p *parser) flag() (value, present bool) {
	off := p.i
	c := p.peek()
	p.value()
	if c != 't' && c != 'f' && c != 'n' {
		p.invalid(off, "", "must be true or false")
	}
	return c == 't', c != 'n'
}

// integer reads a whole number from low to high; null gives absent.
func (p *parser) integer(low, high, absent int64) int64 {
	off := p.i
	c := p.peek()
	p.value()
	if c == 'n' {
		return absent
	}
	if c == '-' || c-'0' < 10 {
		if v, err := strconv.ParseInt(view(p.b[off:p.i]), 10, 64); err == nil && v >= low && v <= high {
			return v
		}
	}
	p.invalid(off, "", fmt.Sprintf("must be a whole number from %d to %d", low, high))
	return absent
}

// float checks a number from low to high; null is absent.
func (p *parser) float(low, high float64) {
	off := p.i
	c := p.peek()
	p.value()
	if c == 'n' || p.fault != nil {
		return
	}
	if c == '-' || c-'0' < 10 {
		if v, err := strconv.ParseFloat(view(p.b[off:p.i]), 64); err == nil && v >= low && v <= high {
			return
		}
	}
	p.invalid(off, "", fmt.Sprintf("must be a number from %g to %g", low, high))
}

// optionalText reads a string; null is absent.
func (p *parser) optionalText() bool {
	off := p.i
	c := p.peek()
	p.value()
	if c != '"' && c != 'n' {
		p.invalid(off, "", "must be a string")
	}
	return c == '"' && p.fault == nil
}

func (p *parser) streamOptions() {
	if !p.opens('{') {
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		if string(p.key) == "include_usage" {
			p.e.usage.off = uint32(p.i)
			p.e.IncludeUsage, _ = p.flag()
			p.e.usage.end = uint32(p.i)
			continue
		}
		p.variant("stream_options.", []string{"include_usage"})
		p.value()
	}
}

// tools reads tools, or the older functions, whose JSON is prompt text for the model.
func (p *parser) tools() {
	off, wide := p.i, p.textWide
	typed := string(p.key) == "tools"
	if !p.opens('[') {
		return
	}
	var f frame
	for p.begin(&f); p.element(&f); {
		p.tool(typed)
	}
	if f.n > 0 {
		p.e.Needs |= abi.CapTools
		p.e.TextBytes += p.i - off
		p.e.WideBytes += p.textWide - wide
	}
}

func (p *parser) tool(typed bool) {
	off := p.i
	if p.peek() != '{' {
		p.invalid(off, "", "must be an object")
		p.value()
		return
	}
	var f frame
	has := false
	for p.begin(&f); p.member(&f); {
		if typed && string(p.key) == "type" {
			at := p.i
			if has = p.optionalText(); has {
				p.toolKind(at)
			}
			continue
		}
		p.value()
	}
	if typed && !has {
		p.invalid(off, ".type", "is required")
	}
}

func (p *parser) responseFormat() {
	off, wide := p.i, p.textWide
	if !p.opens('{') {
		return
	}
	var f frame
	has, schema, object := false, false, false
	for p.begin(&f); p.member(&f); {
		if string(p.key) == "type" {
			has = p.optionalText()
			schema = has && string(p.decoded()) == "json_schema"
			object = has && string(p.decoded()) == "json_object"
			continue
		}
		p.value()
	}
	if p.fault != nil {
		return
	}
	if !has {
		p.invalid(off, ".type", "is required")
	}
	p.e.WantsJSON = schema || object
	if schema {
		p.e.Needs |= abi.CapJSONSchema
		p.e.TextBytes += p.i - off
		p.e.WideBytes += p.textWide - wide
	}
}

func (p *parser) stop() {
	off := p.i
	switch p.peek() {
	case '"', 'n':
		p.value()
	case '[':
		var f frame
		for p.begin(&f); p.element(&f); {
			at := p.i
			if p.peek() != '"' {
				p.invalid(at, "", "must be a string")
			}
			p.value()
			if f.n > maxStops {
				p.invalid(off, "", "must have at most "+strconv.Itoa(maxStops)+" entries")
			}
		}
	default:
		p.invalid(off, "", "must be a string or an array of strings")
		p.value()
	}
}

func (p *parser) logitBias() {
	off := p.i
	if !p.opens('{') {
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		p.float(-100, 100)
		if f.n > maxBiases {
			p.invalid(off, "", "must have at most "+strconv.Itoa(maxBiases)+" members")
		}
	}
}
