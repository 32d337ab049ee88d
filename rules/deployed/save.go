package deployed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"ephemera/rules"
)

// Files returns the snapshot as the files that rules.ReadDir reads, by name.
// Calls that could not be made have none.
func (s *Snapshot) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	var failed error
	add := func(call, key string, list any, known bool) {
		if !known || failed != nil {
			return
		}
		files[call+".json"], failed = document(key, list)
	}
	add("describe-network-acls", "NetworkAcls", s.NetworkACLs, s.NetworkACLs != nil)
	add("describe-security-groups", "SecurityGroups", s.SecurityGroups, s.SecurityGroups != nil)
	add("describe-network-interfaces", "NetworkInterfaces", s.NetworkInterfaces, s.NetworkInterfaces != nil)
	add("describe-subnets", "Subnets", s.Subnets, s.Subnets != nil)
	add("describe-nat-gateways", "NatGateways", s.NATGateways, s.NATGateways != nil)
	add("describe-route-tables", "RouteTables", s.RouteTables, s.RouteTables != nil)
	add("describe-flow-logs", "FlowLogs", s.FlowLogs, s.FlowLogs != nil)
	add("describe-managed-prefix-lists", "PrefixLists", s.PrefixLists, s.PrefixLists != nil)
	for id, entries := range s.PrefixListEntries {
		add("get-managed-prefix-list-entries-"+id, "Entries", entries, true)
	}
	return files, failed
}

// Saved says where a snapshot is.
type Saved struct {
	// Dir is the dated directory: the new one, or the one before it.
	Dir string

	// Unchanged is set when nothing was written, since the latest snapshot
	// says the same.
	Unchanged bool
}

// Save writes the snapshot into a directory below dir that is named by the
// time at, unless the latest one there says the same and force is not set.
// The directory appears under its name with all its files, or not at all.
// Before that, what was written is read as an analysis will read it.
func (s *Snapshot) Save(dir string, at time.Time, force bool) (Saved, error) {
	files, err := s.Files()
	if err != nil {
		return Saved{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Saved{}, err
	}
	if !force {
		latest, err := latestDir(dir)
		if err != nil {
			return Saved{}, err
		}
		if latest != "" && sameFiles(filepath.Join(dir, latest), files) {
			return Saved{Dir: filepath.Join(dir, latest), Unchanged: true}, nil
		}
	}
	place := filepath.Join(dir, dirName(at))
	return Saved{Dir: place}, writeDir(place, files)
}

// dirName is RFC 3339; on Windows, whose file names have no colons, it is
// the basic format of ISO 8601. rules.ReadDir reads both.
func dirName(at time.Time) string {
	if runtime.GOOS == "windows" {
		return at.UTC().Format("20060102T150405Z")
	}
	return at.UTC().Format(time.RFC3339)
}

// dirTime reads the names that rules.ReadDir takes for times.
func dirTime(name string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15-04-05Z", "20060102T150405Z0700"} {
		if t, err := time.Parse(layout, name); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// latestDir returns the name of the latest dated directory; empty if there
// is none.
func latestDir(dir string) (string, error) {
	listing, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var latest string
	var last time.Time
	for _, entry := range listing {
		if t, ok := dirTime(entry.Name()); ok && entry.IsDir() && (latest == "" || t.After(last)) {
			latest, last = entry.Name(), t
		}
	}
	return latest, nil
}

// sameFiles reports whether the JSON files of a directory say the same as
// files. A directory that cannot be read does not.
func sameFiles(dir string, files map[string][]byte) bool {
	listing, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	listing = slices.DeleteFunc(listing, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) != ".json" })
	if len(listing) != len(files) {
		return false
	}
	for name, data := range files {
		before, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !sameJSON(before, data) {
			return false
		}
	}
	return true
}

// sameJSON reports whether two documents say the same. The order inside
// lists does not count: EC2 does not promise any, and none has a meaning
// that no key repeats.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := ordered(a)
	y, errY := ordered(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// ordered rewrites a document with its lists sorted by what their elements
// look like.
func ordered(data []byte) ([]byte, error) {
	var value any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	return orderedValue(value)
}

func orderedValue(value any) ([]byte, error) {
	switch v := value.(type) {
	case map[string]any:
		fields := map[string]json.RawMessage{}
		for key, x := range v {
			data, err := orderedValue(x)
			if err != nil {
				return nil, err
			}
			fields[key] = data
		}
		return json.Marshal(fields)
	case []any:
		elements := make([]json.RawMessage, len(v))
		for k, x := range v {
			data, err := orderedValue(x)
			if err != nil {
				return nil, err
			}
			elements[k] = data
		}
		slices.SortFunc(elements, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		return json.Marshal(elements)
	}
	return json.Marshal(value)
}

// writeDir makes the directory place with the files, all or nothing.
func writeDir(place string, files map[string][]byte) (err error) {
	unfinished, err := os.MkdirTemp(filepath.Dir(place), ".unfinished-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(unfinished))
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := writeFile(filepath.Join(unfinished, name), files[name]); err != nil {
			return err
		}
	}
	if _, err := rules.ReadDir(unfinished); err != nil {
		return fmt.Errorf("what EC2 says cannot be read: %w", err)
	}
	if err := os.Chmod(unfinished, 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is a snapshot of this second already", place)
	}
	return os.Rename(unfinished, place)
}

// writeFile writes a file to the disk, so that the directory's new name is
// never there before the content.
func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
