package provider

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// BaseURL returns the address that the operator configured, or the adapter's own if there is none, without a trailing
// slash. The error matches [ErrSetting]. Credentials in an address are refused: addresses end up in logs.
func BaseURL(configured, own string) (string, error) {
	if configured == "" {
		configured = own
	}
	u, err := url.Parse(configured)
	switch {
	case err != nil: // the error of url.Parse repeats the address
		return "", fmt.Errorf("%w: base_url is not a URL", ErrSetting)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Errorf("%w: base_url must begin with http:// or https:// and a host", ErrSetting)
	case u.User != nil:
		return "", fmt.Errorf("%w: base_url must not hold a user or password", ErrSetting)
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%w: base_url must not hold a query or fragment", ErrSetting)
	}
	return strings.TrimRight(configured, "/"), nil
}

// CheckSettings refuses settings that the adapter does not know, so that a misspelt one is noticed. The error matches
// [ErrSetting] and names the setting.
func CheckSettings(settings map[string]string, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w: %.64q is not known; known are %s", ErrSetting, name, strings.Join(known, ", "))
		}
	}
	return nil
}
