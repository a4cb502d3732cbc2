package catalog

import (
	"slices"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Names of the codes in sdk/abi, at the index of the code or of the bit.
var (
	modeNames = [...]string{
		abi.ModeChat: "chat", abi.ModeEmbedding: "embedding", abi.ModeResponses: "responses", abi.ModeImage: "image",
		abi.ModeTranscription: "transcription", abi.ModeSpeech: "speech", abi.ModeModeration: "moderation", abi.ModeRerank: "rerank",
	}
	capabilityNames = [...]string{"tools", "vision", "json_schema", "reasoning", "prompt_cache", "pdf", "audio"}
	taskNames       = [...]string{
		abi.TaskUnknown: "", abi.TaskCode: "code", abi.TaskChat: "chat", abi.TaskRAG: "rag", abi.TaskCreative: "creative",
		abi.TaskAnalysis: "analysis", abi.TaskTranslation: "translation", abi.TaskSummarization: "summarization", abi.TaskReasoning: "reasoning",
	}
)

// ModeName is the name of an abi.Mode* code, "" for an unknown one.
func ModeName(mode uint8) string {
	if int(mode) < len(modeNames) {
		return modeNames[mode]
	}
	return ""
}

// ParseMode is the abi.Mode* code of a name. The empty name is chat.
func ParseMode(name string) (mode uint8, ok bool) {
	if name == "" {
		return abi.ModeChat, true
	}
	i := slices.Index(modeNames[:], name)
	return uint8(max(i, 0)), i >= 0
}

// ModeNames lists every mode, in the order of the codes.
func ModeNames() []string { return slices.Clone(modeNames[:]) }

// CapabilityNames lists the names of abi.Cap* bits, in their order; bits without a name are left out.
// CapabilityNames(^uint32(0)) lists all.
func CapabilityNames(bits uint32) []string { return namesOf(capabilityNames[:], bits) }

// ParseCapability is the abi.Cap* bit of a name.
func ParseCapability(name string) (bit uint32, ok bool) { return bitOf(capabilityNames[:], name) }

// StrengthNames lists the names of 1<<abi.Task* bits, in their order; bits without a name are left out.
func StrengthNames(bits uint32) []string { return namesOf(taskNames[:], bits) }

// ParseStrength is the 1<<abi.Task* bit of a task's name.
func ParseStrength(name string) (bit uint32, ok bool) { return bitOf(taskNames[:], name) }

// Reserved says that a name means a way of routing ("auto", a power level, or "auto/…") and so cannot name a model.
func Reserved(name string) bool {
	switch name {
	case "auto", "eco", "balanced", "precision", "custom":
		return true
	}
	return strings.HasPrefix(name, "auto/")
}

// ValidName says whether a name of a model or alias keeps the grammar [A-Za-z0-9._:/@-]{1,128}.
func ValidName(name string) bool {
	if name == "" || len(name) > 128 {
		return false
	}
	for _, c := range []byte(name) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("._:/@-", rune(c)) {
			return false
		}
	}
	return true
}

func namesOf(names []string, bits uint32) []string {
	var out []string
	for i, name := range names {
		if bits&(1<<i) != 0 && name != "" {
			out = append(out, name)
		}
	}
	return out
}

func bitOf(names []string, name string) (uint32, bool) {
	i := slices.Index(names, name)
	if i < 0 || name == "" {
		return 0, false
	}
	return 1 << i, true
}
