package cli

import (
	"fmt"
	"strings"
	"testing"

	"ephemera/analyze"
)

func TestSummaryIsBounded(t *testing.T) {
	r := &analyze.Result{}
	for i := range summaryRules + 7 {
		r.Rules = append(r.Rules, analyze.RuleUse{Number: i + 1, Title: fmt.Sprintf("rule %d", i+1)})
	}
	var b strings.Builder
	if err := writeSummary(&b, r, ""); err != nil {
		t.Fatal(err)
	}
	last := fmt.Sprintf("rule %d ", summaryRules)
	if s := b.String(); !strings.Contains(s, last) || strings.Contains(s, fmt.Sprintf("rule %d ", summaryRules+1)) || !strings.Contains(s, "... and 7 more") {
		t.Errorf("got %s", s)
	}
}
