package rules

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// History is a network's configuration over time.
type History struct {
	networks []*Network // by time
	warnings []string
}

// ReadDir reads a directory of files as the AWS CLI prints them, one for
// each call:
//
//	describe-network-acls.json
//	describe-security-groups.json
//	describe-network-interfaces.json
//	describe-subnets.json
//	describe-nat-gateways.json                     optional
//	describe-route-tables.json                     optional
//	get-managed-prefix-list-entries-PL.json        optional, one a prefix list
//
// Further pages may follow as describe-network-acls-2.json and so on.
// Sub-directories named by an RFC 3339 time ("2026-11-22T10:00:00Z", also
// "2026-11-22T10-00-00Z" and "20261122T100000Z") hold snapshots of that
// time. Unknown files and unknown keys are passed over.
func ReadDir(dir string) (*History, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a directory", dir)
	}
	return readFS(os.DirFS(dir), dir)
}

// ReadFS is ReadDir for any file system.
func ReadFS(fsys fs.FS) (*History, error) { return readFS(fsys, "") }

// Networks returns the snapshots by time.
func (h *History) Networks() []*Network {
	if h == nil {
		return nil
	}
	return slices.Clone(h.networks)
}

// Warnings returns what was missing, incomplete or passed over.
func (h *History) Warnings() []string {
	if h == nil {
		return nil
	}
	return slices.Clone(h.warnings)
}

// At returns the snapshot in force at a time in Unix seconds: the last one
// taken by then, or the first one for the time before. A nil or empty
// History gives nil.
func (h *History) At(unix int64) *Network {
	if h == nil || len(h.networks) == 0 {
		return nil
	}
	i, found := slices.BinarySearchFunc(h.networks, unix, func(n *Network, t int64) int {
		return cmp.Compare(n.Time.Unix(), t)
	})
	if found {
		return h.networks[i]
	}
	return h.networks[max(i-1, 0)]
}

func readFS(fsys fs.FS, place string) (*History, error) {
	h := &History{}
	listing, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range listing {
		if entry.IsDir() {
			if err := h.readDated(fsys, place, entry.Name()); err != nil {
				return nil, err
			}
		}
	}
	if len(h.networks) == 0 || hasSnapshotFiles(listing) {
		if len(h.networks) > 0 {
			h.warn(place, "files beside dated directories are taken to be older than all of them")
		}
		if err := h.read(fsys, place, time.Time{}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(h.networks, func(a, b *Network) int { return a.Time.Compare(b.Time) })
	return h, h.checkTimes(place)
}

func (h *History) readDated(fsys fs.FS, place, name string) error {
	t, ok := parseDirTime(name)
	if !ok {
		h.warn(path.Join(place, name), "passed over: not named by a time such as 2026-11-22T10:00:00Z")
		return nil
	}
	sub, err := fs.Sub(fsys, name)
	if err != nil {
		return err
	}
	return h.read(sub, path.Join(place, name), t)
}

func (h *History) checkTimes(place string) error {
	for i := 1; i < len(h.networks); i++ {
		if t := h.networks[i].Time; t.Equal(h.networks[i-1].Time) {
			return fmt.Errorf("%s: two snapshots of %s", cmp.Or(place, "."), t.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// parseDirTime reads RFC 3339, the same with hyphens for colons (which some
// file systems do not have), and the basic format without either.
func parseDirTime(name string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15-04-05Z", "2006-01-02T15-04-05-07-00", "20060102T150405Z0700"} {
		if t, err := time.Parse(layout, name); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (h *History) warn(place, words string) {
	if place != "" {
		words = place + ": " + words
	}
	h.warnings = append(h.warnings, words)
}

// call is an AWS CLI call whose output is part of a snapshot.
type call struct {
	name, key string // file name before ".json"; JSON key of the list
	lacking   string // what is not known without it; empty if it is required
	add       func(*Network, item) error
}

var calls = []call{
	{"describe-network-acls", "NetworkAcls", "", (*Network).addACL},
	{"describe-security-groups", "SecurityGroups", "", (*Network).addGroup},
	{"describe-network-interfaces", "NetworkInterfaces", "", (*Network).addInterface},
	{"describe-subnets", "Subnets", "", (*Network).addSubnet},
	{"describe-nat-gateways", "NatGateways", "NAT gateways are known by their interfaces only, regional ones not at all", (*Network).addNATGateway},
	{"describe-route-tables", "RouteTables", "the way from a subnet to the internet is not known", (*Network).addRouteTable},
}

const prefixListCall = "get-managed-prefix-list-entries"

func (c call) command() string { return "aws ec2 " + c.name + " > " + c.name + ".json" }

// isPage reports whether a file name is the call's output, or a further page
// of it.
func (c call) isPage(name string) bool {
	rest, ok := strings.CutPrefix(name, c.name)
	return ok && strings.HasSuffix(rest, ".json") && (rest[0] == '.' || rest[0] == '-')
}

func hasSnapshotFiles(listing []fs.DirEntry) bool {
	return slices.ContainsFunc(listing, func(e fs.DirEntry) bool {
		return !e.IsDir() && slices.ContainsFunc(calls, func(c call) bool { return c.isPage(e.Name()) })
	})
}

// read adds the snapshot that the files of one directory make.
func (h *History) read(fsys fs.FS, place string, t time.Time) error {
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return err
	}
	n := newNetwork(t)
	var missing []error
	for _, c := range calls {
		pages := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !c.isPage(name) })
		switch {
		case len(pages) > 0:
			if err := h.readCall(n, fsys, place, c, pages); err != nil {
				return err
			}
		case c.lacking == "":
			missing = append(missing, fmt.Errorf("%s is missing; make it with: %s", path.Join(place, c.name+".json"), c.command()))
		default:
			h.warn(path.Join(place, c.name+".json"), "missing: "+c.lacking+"; make it with: "+c.command())
		}
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	if err := h.readPrefixLists(n, fsys, place, names); err != nil {
		return err
	}
	n.index()
	h.networks = append(h.networks, n)
	return nil
}

func newNetwork(t time.Time) *Network {
	return &Network{
		Time: t,
		acls: map[string]*NetworkACL{}, groups: map[string]*SecurityGroup{},
		interfaces: map[string]*Interface{}, subnets: map[string]*Subnet{},
		nats: map[string]*NATGateway{}, prefixLists: map[string][]netip.Prefix{},
	}
}

func (h *History) readCall(n *Network, fsys fs.FS, place string, c call, pages []string) error {
	complete := false
	for _, name := range pages {
		where := path.Join(place, name)
		doc, err := readDocument(fsys, name, c.key)
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		for _, it := range doc.items {
			if err := c.add(n, it); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
		}
		complete = complete || doc.complete
	}
	if !complete {
		h.warn(path.Join(place, pages[len(pages)-1]), "ends with a NextToken: the rest is missing; make it anew without --no-paginate or --max-items")
	}
	return nil
}

// readPrefixLists reads the files that are named after the prefix list whose
// entries they hold, since the output itself does not name it.
func (h *History) readPrefixLists(n *Network, fsys fs.FS, place string, names []string) error {
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, prefixListCall+"-")
		if !ok {
			continue
		}
		id, ok := prefixListID(strings.TrimSuffix(rest, ".json"))
		if !ok {
			h.warn(path.Join(place, name), "passed over: the name does not say which prefix list, as in "+prefixListCall+"-pl-0123456789abcdef0.json")
			continue
		}
		c := call{name: prefixListCall, key: "Entries", add: prefixListEntry(id)}
		n.prefixLists[id] = append([]netip.Prefix{}, n.prefixLists[id]...)
		if err := h.readCall(n, fsys, place, c, []string{name}); err != nil {
			return err
		}
	}
	return nil
}

// prefixListID takes the ID from "pl-0a1" or from "pl-0a1-2", a further page.
func prefixListID(rest string) (string, bool) {
	words := strings.Split(rest, "-")
	if len(words) < 2 || words[0] != "pl" || words[1] == "" {
		return "", false
	}
	return "pl-" + words[1], true
}
