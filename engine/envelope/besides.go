package envelope

import "strings"

// besides notes that a provider would sell what the value at off asks for beside tokens at their listed prices.
func (p *parser) besides(off int) {
	if p.e.Besides == "" && p.fault == nil {
		p.e.Besides = cut(pathAt(p.b, off))
	}
}

// toolKind notes a tool that the provider runs. Its kind was scanned last, and begins at off.
func (p *parser) toolKind(off int) {
	if !p.e.form.runByClients(p.decoded()) {
		p.besides(off)
	}
}

// runByClients tells the tools that clients run, or that only find others of the same request. A kind to come is none of them.
func (f Form) runByClients(kind []byte) bool {
	switch name := view(kind); {
	case name == "custom":
		return true
	case f.anthropic():
		for _, family := range [...]string{"bash_", "text_editor_", "computer_", "browser_", "memory_", "tool_search_tool_"} {
			if strings.HasPrefix(name, family) {
				return true
			}
		}
		return false
	case name == "function":
		return true
	case f == FormResponses: // shell is none of them: unless told otherwise it is a container of the provider's
		return name == "local_shell" || name == "apply_patch" || name == "computer" || name == "computer_use_preview" || name == "namespace" || name == "tool_search"
	}
	return false
}

// typed reads an object and shows its type, which was scanned last and begins at off.
func (p *parser) typed(show func(off int)) {
	var f frame
	for p.begin(&f); p.member(&f); {
		off, kind := p.i, string(p.key) == "type" && p.peek() == '"'
		if p.value(); kind && p.fault == nil {
			show(off)
		}
	}
}

// contextEdits reads context_management. Edits that only clear are free; a summary is written by the model, and counted apart.
func (p *parser) contextEdits() {
	if p.peek() != '{' {
		p.value()
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		if string(p.key) != "edits" || p.peek() != '[' {
			p.value()
			continue
		}
		var edits frame
		for p.begin(&edits); p.element(&edits); {
			if p.peek() != '{' {
				p.value()
				continue
			}
			p.typed(func(off int) {
				if !strings.HasPrefix(view(p.decoded()), "clear_") {
					p.besides(off)
				}
			})
		}
	}
}

// servers reads mcp_servers, which the provider calls.
func (p *parser) servers() {
	off, list := p.i, p.peek() == '['
	if p.value(); list && p.fault == nil && !isEmpty(p.b[off:p.i]) {
		p.besides(off)
	}
}

// surcharge reads the name of a service that has prices of its own unless it is the ordinary one.
func (p *parser) surcharge(ordinary string) {
	off, named := p.i, p.peek() == '"'
	if p.value(); named && p.fault == nil && string(p.decoded()) != ordinary {
		p.besides(off)
	}
}
