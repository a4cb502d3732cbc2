package storage

import (
	"fmt"
	"strconv"
	"strings"
)

// Credits is an amount of the operator's currency in micro-credits: 1 credit = 1,000,000.
type Credits int64

// CreditsPerCredit is the number of micro-credits in one credit.
const CreditsPerCredit Credits = 1_000_000

// String prints the amount in credits as a decimal without trailing zeros: "999.998", "-0.5", "0".
func (c Credits) String() string { return formatDecimal(int64(c), 6) }

// ParseCredits reads a decimal amount of credits such as "10", "0.002" or "-1.5". More than six fractional digits, an
// exponent, a sign of "+", white space, or an amount outside int64 micro-credits is an error that names the text.
func ParseCredits(text string) (Credits, error) {
	n, err := parseDecimal(text, 6)
	return Credits(n), err
}

// NanoUSD is an amount of US dollars in nano-dollars: 1 USD = 1,000,000,000.
type NanoUSD int64

// String prints the amount in dollars as a decimal without trailing zeros.
func (u NanoUSD) String() string { return formatDecimal(int64(u), 9) }

// ParseNanoUSD reads a decimal amount of dollars; its errors are those of [ParseCredits], with nine fractional digits.
func ParseNanoUSD(text string) (NanoUSD, error) {
	n, err := parseDecimal(text, 9)
	return NanoUSD(n), err
}

func formatDecimal(n int64, digits int) string {
	var text [24]byte // a sign, twenty digits and a point, from the end
	at, u := len(text), uint64(n)
	if n < 0 {
		u = -u
	}
	for place := 0; u > 0 || place <= digits; place++ {
		digit := byte('0' + u%10)
		u /= 10
		if place < digits && at == len(text) && digit == '0' {
			continue // a zero at the end
		}
		if place == digits && at < len(text) {
			at--
			text[at] = '.'
		}
		at--
		text[at] = digit
	}
	if n < 0 {
		at--
		text[at] = '-'
	}
	return string(text[at:])
}

func parseDecimal(text string, digits int) (int64, error) {
	rest, negative := strings.CutPrefix(text, "-")
	whole, frac, dotted := strings.Cut(rest, ".")
	if whole == "" || len(frac) > digits || dotted && frac == "" {
		return 0, notDecimal(text, digits)
	}
	scaled := whole + frac + strings.Repeat("0", digits-len(frac))
	for _, c := range scaled {
		if c < '0' || c > '9' {
			return 0, notDecimal(text, digits)
		}
	}
	n, err := strconv.ParseInt(scaled, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("amount %.40q is too large", text)
	}
	if negative {
		n = -n
	}
	return n, nil
}

func notDecimal(text string, digits int) error {
	return fmt.Errorf("amount %.40q is not a decimal number with at most %d fractional digits", text, digits)
}
