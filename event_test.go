package visutility_test

import (
	"strings"
	"testing"
	"time"

	"github.com/visutility/visutility"
)

func TestEventCheckNames(t *testing.T) {
	now := time.Now()
	for name, want := range map[string]string{
		"churn": "", "a b": "", `q"uo'te`: "", "team/x/y": "", "../x": "", "...": "", "%2e": "", "é": "", "e\u0301": "", "😀": "",
		"👩\u200d💻": "", // held together by a joiner
		strings.Repeat("x", visutility.MaxNameBytes): "",

		"": "empty", strings.Repeat("x", visutility.MaxNameBytes+1): "too_long",
		".": "dots", "..": "dots",
		"a\nb": "control_character", "a\x00": "control_character", "\x7f": "control_character",
		"é\x1b[31m": "control_character", "é\n": "control_character", "\u009b31m": "control_character",
		"fraud\u202egnp": "control_character", "\u2066": "control_character",
		"a\xff": "utf8", "é\xff": "utf8",
	} {
		e := visutility.Event{Model: name, Metric: "accuracy", Value: 1}
		got := ""
		if errs := e.Check(nil, "", now); len(errs) > 0 {
			got = errs[0].Reason
		}
		if got != want {
			t.Errorf("model %q is refused for %q, want %q", name, got, want)
		}
	}
}
