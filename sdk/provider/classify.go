package provider

import "bytes"

// Matches tells whether a rule is about an error answer of that status and body.
func (r ErrorRule) Matches(status int, body []byte) bool {
	return (r.Status == 0 || r.Status == status) && (r.Contains == "" || bytes.Contains(body, []byte(r.Contains)))
}

// Classify is the class that the gateway gives to an error answer: that of the first rule that matches, else by the status, as
// [ErrorRule] says. A redirect or an interim status is no answer: server.
func Classify(rules []ErrorRule, status int, body []byte) ErrorClass {
	for _, rule := range rules {
		if rule.Matches(status, body) {
			return rule.Class
		}
	}
	switch {
	case status == 401, status == 403:
		return ClassAuth
	case status == 402:
		return ClassQuota
	case status == 404:
		return ClassNotFound
	case status == 429:
		return ClassRateLimited
	case status == 503, status == 529:
		return ClassOverloaded
	case status == 408, status >= 500, status < 400:
		return ClassServer
	default:
		return ClassBadRequest
	}
}
