package digest

import "strings"

// Suffix ends the name of every digest.
const Suffix = ".digest.parquet"

// Name is the name of the digest of an object: of a key with its bucket in
// front, of a file's path. The version is what tells the object's content from
// another one of that name, such as its ETag. What AWS says in an object's name
// stays in it:
//
//	logs/AWSLogs/1/…/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz
//	logs/AWSLogs/1/…/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz.9f86d081.digest.parquet
//
// The names of the digests of all versions of an object begin with its own and
// a dot.
func Name(object, version string) string { return object + "." + clean(version) + Suffix }

// IsName reports whether a name is that of a digest.
func IsName(name string) bool { return strings.HasSuffix(name, Suffix) }

// clean makes a version a part of a name: ETags come in quotes.
func clean(version string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
			return r
		case r == '"':
			return -1
		}
		return '-'
	}, version)
}
