package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"ephemera/ingest/flow"
)

// Summary says in a sentence for every entry and rule that changes how many
// ports of whom it lets through today, and what becomes of that.
func (p *Proposal) Summary() []string {
	var sentences []string
	seen := map[string]bool{}
	for _, c := range p.Changes {
		if !c.changes() {
			continue
		}
		key := c.ID + " " + c.Direction.String() + " " + pick(c.Replaces != "", c.Replaces, c.words())
		if seen[key] {
			continue
		}
		seen[key] = true
		sentences = append(sentences, p.sentence(c))
	}
	return sentences
}

func (p *Proposal) sentence(c Change) string {
	place := fmt.Sprintf("%s %s", Label(c.Name, c.ID), c.Direction)
	if c.Replaces == "" {
		if pieces := p.replacing(c, c.words()); c.Kind == ChangeRemove && len(pieces) > 0 {
			return p.becomes(place, c.words(), pieces)
		}
		return fmt.Sprintf("%s: %s is %s.", place, c.words(), pick(c.Kind == ChangeRemove, "taken away", "added"))
	}
	return p.becomes(place, c.Replaces, p.replacing(c, c.Replaces))
}

// replacing returns what takes the place of an entry or rule.
func (p *Proposal) replacing(c Change, words string) []Change {
	var pieces []Change
	for _, x := range p.Changes {
		if x.ID == c.ID && x.Direction == c.Direction && x.Replaces == words {
			pieces = append(pieces, x)
		}
	}
	return pieces
}

// becomes gives "acl-0a1 egress, rule 110 allow tcp 1024-65535 to 0.0.0.0/0:
// 64,512 ports to anywhere become 100 ports to 203.0.113.10.".
func (p *Proposal) becomes(place, old string, pieces []Change) string {
	way := pick(pieces[0].Direction == flow.Egress, "to", "from")
	var peers []netip.Prefix
	ports := map[netip.Prefix]int{}
	for _, x := range pieces {
		prefix, n := x.reach()
		if ports[prefix] == 0 {
			peers = append(peers, prefix)
		}
		ports[prefix] += n
	}
	var words []string
	for _, peer := range peers {
		words = append(words, fmt.Sprintf("%s %s %s", countPorts(ports[peer]), way, peerWords(peer)))
	}
	return fmt.Sprintf("%s, %s: %s %s %s become %s.", place, old, countPorts(pieces[0].ReplacedPorts), way, peerWords(pieces[0].ReplacedPeers), joinAnd(words))
}

// reach returns the peers and the number of ports of an entry or rule.
func (c Change) reach() (netip.Prefix, int) {
	if c.Layer == SG {
		return c.Rule.Prefix, c.Rule.ports(flow.TCP).Len()
	}
	return c.Entry.Prefix, c.Entry.ports(flow.TCP).Len()
}

func (c Change) words() string {
	if c.Layer == SG {
		return c.Rule.Words(c.Direction)
	}
	return c.Entry.String()
}

// Label names a network ACL or security group for people: "public-nacl
// (acl-0a1)", or its ID alone when it has no name.
func Label(name, id string) string {
	if name == "" || name == id {
		return id
	}
	return fmt.Sprintf("%s (%s)", name, id)
}

// countPorts writes "1 port" or "64,512 ports".
func countPorts(n int) string {
	switch {
	case n == 1:
		return "1 port"
	case n < 1000:
		return fmt.Sprintf("%d ports", n)
	}
	return fmt.Sprintf("%d,%03d ports", n/1000, n%1000)
}

func peerWords(p netip.Prefix) string {
	switch {
	case p.Bits() == 0:
		return "anywhere"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// joinAnd joins words as in a sentence.
func joinAnd(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
