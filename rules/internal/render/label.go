package render

import (
	"fmt"
	"net/netip"
	"strings"

	"ephemera/rules"
)

// maxLabel is enough for a name to be known by; Name tags have up to 256
// characters.
const maxLabel = 48

// labelsOf returns a word for every network ACL and security group, by ID: its
// name, or if it has none, or another one has the same, with its ID. So the
// words of two revisions are the same where names and IDs are.
func labelsOf(s rules.RuleSet) map[string]string {
	names := map[string]string{}
	count := map[string]int{}
	add := func(id, name string) {
		names[id] = strings.TrimRight(fmt.Sprintf("%.*s", maxLabel, Slug(name)), "_")
		count[names[id]]++
	}
	for _, a := range s.ACLs {
		add(a.ID, a.Name)
	}
	for _, g := range s.Groups {
		add(g.ID, g.Name)
	}
	labels := map[string]string{}
	for id, name := range names {
		switch {
		case name == "":
			labels[id] = Slug(id)
		case count[name] > 1:
			labels[id] = name + "_" + Slug(id)
		default:
			labels[id] = name
		}
	}
	return labels
}

// Slug returns the letters and digits of text in lower case, with one
// underscore for whatever is between them.
func Slug(text string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(text) {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('_')
		}
		gap = false
		b.WriteRune(r)
	}
	return b.String()
}

// EntryName gives the name of an entry: "private_ingress_100".
func (a ACL) EntryName(e Entry) string {
	return fmt.Sprintf("%s_%s_%d", a.Label, e.Direction(), e.RuleNumber)
}

// RuleName gives the name of a rule: "ftp_tcp_22_from_10_0_0_0_24".
func (g Group) RuleName(r Rule) string {
	words := r.Words()
	switch r.Prefix {
	case netip.PrefixFrom(netip.IPv4Unspecified(), 0):
		words = strings.TrimSuffix(words, r.Prefix.String()) + "anywhere"
	case netip.PrefixFrom(netip.IPv6Unspecified(), 0):
		words = strings.TrimSuffix(words, r.Prefix.String()) + "anywhere_ipv6"
	}
	return g.Label + "_" + Slug(words)
}

// Names hands out names, each once. The zero value is ready.
type Names struct{ taken map[string]bool }

// Unique returns name, or if it is taken, name with separator and the first
// number from 2 that makes it new.
func (n *Names) Unique(name, separator string) string {
	if n.taken == nil {
		n.taken = map[string]bool{}
	}
	unique := name
	for k := 2; n.taken[unique]; k++ {
		unique = fmt.Sprintf("%s%s%d", name, separator, k)
	}
	n.taken[unique] = true
	return unique
}
