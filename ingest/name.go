package ingest

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ephemera/ingest/digest"
)

// ObjectName is what AWS says in the name of a flow log file:
//
//	123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.gz
//
// The folders around it come in several layouts (plain, hourly, Hive) and
// say nothing more.
// Source: VPC User Guide, "Publish flow logs to Amazon S3", flow log files.
type ObjectName struct {
	FlowLogID string // "fl-0a1"
	// Time is when the object begins: it holds records that end in the Period
	// from it.
	Time time.Time
	// Period is five minutes, and an hour or a day for a digest of that: see
	// digest.CompactedName.
	Period time.Duration
}

// ParseName reads the last element of place. It reports false for names of
// any other form.
func ParseName(place string) (ObjectName, bool) {
	parts := strings.Split(path.Base(filepath.ToSlash(place)), "_")
	if len(parts) < 6 || parts[1] != "vpcflowlogs" || !strings.HasPrefix(parts[3], "fl-") {
		return ObjectName{}, false
	}
	key, err := time.Parse("20060102T1504Z", parts[4])
	if err != nil {
		return ObjectName{}, false
	}
	name := ObjectName{parts[3], key, keyPeriod}
	if per, ok := digest.PeriodNamed(parts[2]); ok && parts[0] == "digest" {
		name.Period = time.Duration(per) * time.Second
	}
	return name, true
}

// flowLogID returns the flow log that the name of place tells, or "".
func flowLogID(place string) string {
	n, _ := ParseName(place)
	return n.FlowLogID
}

// KeyMargin is how far records may lie outside the time of their object's
// name: delivery is best effort, and record times are up to a minute late.
const KeyMargin = 30 * time.Minute

// keyPeriod is how long the time is that an object of AWS's covers.
const keyPeriod = 5 * time.Minute

// MayHold reports whether the object can hold records that end at or after
// from and start before to; zero times leave the window open.
func (n ObjectName) MayHold(from, to time.Time) bool {
	if !from.IsZero() && n.Time.Add(max(n.Period, keyPeriod)+KeyMargin).Before(from) {
		return false
	}
	return to.IsZero() || !n.Time.After(to.Add(KeyMargin))
}

// Successive reports whether objects of these names keep the promise of
// Objects.Ordered: AWS's do, and digests of hours and days, as long as they do
// not cover the time of others.
func Successive(names []ObjectName) bool {
	if !slices.ContainsFunc(names, ObjectName.IsLong) {
		return true
	}
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b ObjectName) int { return a.Time.Compare(b.Time) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i-1].Time.Add(sorted[i-1].Period).After(sorted[i].Time.Add(maxOverlap)) {
			return false
		}
	}
	return true
}

// maxOverlap is how far an object's records may reach into the time of the
// next one: see Objects.Ordered.
const maxOverlap = 15 * time.Minute

// IsLong reports whether the object covers more time than one of AWS's.
func (n ObjectName) IsLong() bool { return n.Period > keyPeriod }
