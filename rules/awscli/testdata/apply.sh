#!/usr/bin/env bash
# Proposal for the FTP clients of vpc-0a1.
#
# It stands on 42 sessions from 2026-11-01 to 2026-11-21. rm -rf ~
#
# Read it first. Then run it with the options of the AWS CLI that say where, for instance:
#
#   bash THIS_FILE --region eu-west-1 --profile NAME
#
# Before it changes anything it asks EC2 whether everything is still as it was when this was made,
# and stops if not. EPHEMERA_SKIP_CHECK=1 leaves that out.
# It takes 13 steps, one by one, and stops at the first that fails.
#
# Warning: Connections through sg-0123456789abcdef0 are cut. rm -rf ~
set -euo pipefail

# Stops if the command after the first two arguments does not print the second.
compare() {
  local id=$1 expected=$2 found
  shift 2
  if ! found=$("$@"); then
    echo "$id: EC2 does not say what it is like; nothing was changed" >&2
    exit 1
  fi
  if [[ "$found" != "$expected" ]]; then
    printf '%s\n' "$id: not what it was when this script was made; nothing was changed." \
      'Then:' "$expected" 'Now:' "$found" \
      'Make the script anew from a new snapshot, or run this one with EPHEMERA_SKIP_CHECK=1.' >&2
    exit 1
  fi
}

if [[ "${EPHEMERA_SKIP_CHECK:-}" != 1 ]]; then
  entries='join(`"\n"`, sort(NetworkAcls[].Entries[?RuleNumber<`32767`][].join(`" "`, [(Egress && `"egress"`) || `"ingress"`, to_string(RuleNumber), RuleAction, Protocol, (contains(`["6","17"]`, Protocol) && PortRange && join(`"-"`, [to_string(PortRange.From), to_string(PortRange.To)])) || (contains(`["1","58"]`, Protocol) && join(`"/"`, [to_string(IcmpTypeCode.Type || `-1`), to_string(IcmpTypeCode.Code || `-1`)])) || `"*"`, CidrBlock || Ipv6CidrBlock])))'
  rules='join(`"\n"`, sort(SecurityGroupRules[].join(`" "`, [(IsEgress && `"egress"`) || `"ingress"`, IpProtocol, (contains(`["tcp","udp","icmp","icmpv6"]`, IpProtocol) && join(`"/"`, [to_string(FromPort || `-1`), to_string(ToPort || `-1`)])) || `"*"`, CidrIpv4 || CidrIpv6 || PrefixListId || ReferencedGroupInfo.GroupId || `"?"`])))'
  compare acl-0a1b2c3d 'egress 100 allow 6 21-21 0.0.0.0/0
egress 110 allow 6 1024-65535 0.0.0.0/0
ingress 100 allow 6 1024-65535 0.0.0.0/0
ingress 120 allow 1 -1/-1 0.0.0.0/0
ingress 130 allow 6 1024-65535 ::/0' \
    aws ec2 describe-network-acls "$@" --network-acl-ids acl-0a1b2c3d --output text --query "$entries"
  compare acl-0f9e8d7c 'egress 100 allow -1 * 0.0.0.0/0
ingress 100 allow 6 1024-49999 0.0.0.0/0
ingress 90 deny 6 50000-51000 0.0.0.0/0' \
    aws ec2 describe-network-acls "$@" --network-acl-ids acl-0f9e8d7c --output text --query "$entries"
  compare sg-0123456789abcdef0 'egress -1 * 0.0.0.0/0
ingress tcp 1024/65535 10.0.0.0/16
ingress tcp 21/21 10.0.0.0/16' \
    aws ec2 describe-security-group-rules "$@" --filters Name=group-id,Values=sg-0123456789abcdef0 --output text --query "$rules"
  echo 'acl-0a1b2c3d, acl-0f9e8d7c, sg-0123456789abcdef0: as when this script was made'
fi

step=
trap 'if (($? != 0)) && [[ -n "$step" ]]; then
  echo "stopped at step $step: the steps before it are done, it and those after it are not" >&2
fi' EXIT

# Replies to FTP clients on Linux, whose ephemeral ports are 32768-60999.
# 1 of 13: acl-0a1b2c3d (private "subnets"): replace ingress rule 100 allow tcp 32768-60999 from
# 0.0.0.0/0
step='1 of 13'
aws ec2 replace-network-acl-entry --network-acl-id acl-0a1b2c3d --ingress --rule-number 100 \
  --rule-action allow --protocol 6 --port-range From=32768,To=60999 --cidr-block 0.0.0.0/0 "$@" >/dev/null
echo '1 of 13 done: acl-0a1b2c3d (private "subnets"): replace ingress rule 100 allow tcp 32768-60999 from 0.0.0.0/0'

# 2 of 13: acl-0a1b2c3d (private "subnets"): replace ingress rule 120 allow icmp type 3 code 4 from
# 0.0.0.0/0
step='2 of 13'
aws ec2 replace-network-acl-entry --network-acl-id acl-0a1b2c3d --ingress --rule-number 120 \
  --rule-action allow --protocol 1 --icmp-type-code Type=3,Code=4 --cidr-block 0.0.0.0/0 "$@" >/dev/null
echo '2 of 13 done: acl-0a1b2c3d (private "subnets"): replace ingress rule 120 allow icmp type 3 code 4 from 0.0.0.0/0'

# 3 of 13: acl-0a1b2c3d (private "subnets"): create ingress rule 140 allow icmpv6 type 2 code 0 from
# ::/0
step='3 of 13'
aws ec2 create-network-acl-entry --network-acl-id acl-0a1b2c3d --ingress --rule-number 140 \
  --rule-action allow --protocol 58 --icmp-type-code Type=2,Code=0 --ipv6-cidr-block ::/0 "$@" >/dev/null
echo '3 of 13 done: acl-0a1b2c3d (private "subnets"): create ingress rule 140 allow icmpv6 type 2 code 0 from ::/0'

# Passive data to files.example.com: ports 49152-50175 as of its 227 replies in 31 sessions, all of
# which are inside what the server says it uses.
# 4 of 13: acl-0a1b2c3d (private "subnets"): replace egress rule 110 allow tcp 49152-50175 to
# 203.0.113.10/32
step='4 of 13'
aws ec2 replace-network-acl-entry --network-acl-id acl-0a1b2c3d --egress --rule-number 110 \
  --rule-action allow --protocol 6 --port-range From=49152,To=50175 --cidr-block 203.0.113.10/32 "$@" >/dev/null
echo '4 of 13 done: acl-0a1b2c3d (private "subnets"): replace egress rule 110 allow tcp 49152-50175 to 203.0.113.10/32'

# Passive data to AWS Transfer Family $(touch /tmp/owned) */
# 5 of 13: acl-0a1b2c3d (private "subnets"): create egress rule 111 allow tcp 8192-8200 to
# 198.51.100.0/24
step='5 of 13'
aws ec2 create-network-acl-entry --network-acl-id acl-0a1b2c3d --egress --rule-number 111 \
  --rule-action allow --protocol 6 --port-range From=8192,To=8200 --cidr-block 198.51.100.0/24 "$@" >/dev/null
echo '5 of 13 done: acl-0a1b2c3d (private "subnets"): create egress rule 111 allow tcp 8192-8200 to 198.51.100.0/24'

# 6 of 13: acl-0a1b2c3d (private "subnets"): create egress rule 112 allow tcp 990 to 203.0.113.10/32
step='6 of 13'
aws ec2 create-network-acl-entry --network-acl-id acl-0a1b2c3d --egress --rule-number 112 \
  --rule-action allow --protocol 6 --port-range From=990,To=990 --cidr-block 203.0.113.10/32 "$@" >/dev/null
echo '6 of 13 done: acl-0a1b2c3d (private "subnets"): create egress rule 112 allow tcp 990 to 203.0.113.10/32'

# IPv6 data resource "x" "y" {}
# 7 of 13: acl-0a1b2c3d (private "subnets"): create egress rule 113 allow tcp 60000-60100 to
# 2001:db8:4::/48
step='7 of 13'
aws ec2 create-network-acl-entry --network-acl-id acl-0a1b2c3d --egress --rule-number 113 \
  --rule-action allow --protocol 6 --port-range From=60000,To=60100 --ipv6-cidr-block 2001:db8:4::/48 "$@" >/dev/null
echo '7 of 13 done: acl-0a1b2c3d (private "subnets"): create egress rule 113 allow tcp 60000-60100 to 2001:db8:4::/48'

# 8 of 13: acl-0a1b2c3d (private "subnets"): create egress rule 114 allow all to 10.0.0.0/16
step='8 of 13'
aws ec2 create-network-acl-entry --network-acl-id acl-0a1b2c3d --egress --rule-number 114 \
  --rule-action allow --protocol -1 --cidr-block 10.0.0.0/16 "$@" >/dev/null
echo '8 of 13 done: acl-0a1b2c3d (private "subnets"): create egress rule 114 allow all to 10.0.0.0/16'

# 9 of 13: acl-0f9e8d7c (public): replace ingress rule 100 allow tcp 1024-65535 from 0.0.0.0/0
step='9 of 13'
aws ec2 replace-network-acl-entry --network-acl-id acl-0f9e8d7c --ingress --rule-number 100 \
  --rule-action allow --protocol 6 --port-range From=1024,To=65535 --cidr-block 0.0.0.0/0 "$@" >/dev/null
echo '9 of 13 done: acl-0f9e8d7c (public): replace ingress rule 100 allow tcp 1024-65535 from 0.0.0.0/0'

# It denied data connections of 7 sessions.
# 10 of 13: acl-0f9e8d7c (public): delete ingress rule 90 deny tcp 50000-51000 from 0.0.0.0/0
step='10 of 13'
aws ec2 delete-network-acl-entry --network-acl-id acl-0f9e8d7c --ingress --rule-number 90 "$@" >/dev/null
echo '10 of 13 done: acl-0f9e8d7c (public): delete ingress rule 90 deny tcp 50000-51000 from 0.0.0.0/0'

# Passive data, `whoami`
# 11 of 13: sg-0123456789abcdef0 (ftp $(server)): authorize ingress tcp 49152-50175 from 10.0.0.0/16
step='11 of 13'
aws ec2 authorize-security-group-ingress --group-id sg-0123456789abcdef0 \
  --ip-permissions '[{"IpProtocol":"tcp","FromPort":49152,"ToPort":50175,"IpRanges":[{"CidrIp":"10.0.0.0/16","Description":"passive \"data\""}]}]' "$@" >/dev/null
echo '11 of 13 done: sg-0123456789abcdef0 (ftp $(server)): authorize ingress tcp 49152-50175 from 10.0.0.0/16'

# 12 of 13: sg-0123456789abcdef0 (ftp $(server)): authorize ingress tcp 49152-50175 from
# 2001:db8::/32
step='12 of 13'
aws ec2 authorize-security-group-ingress --group-id sg-0123456789abcdef0 \
  --ip-permissions '[{"IpProtocol":"tcp","FromPort":49152,"ToPort":50175,"Ipv6Ranges":[{"CidrIpv6":"2001:db8::/32","Description":"it'\''s passive data"}]}]' "$@" >/dev/null
echo '12 of 13 done: sg-0123456789abcdef0 (ftp $(server)): authorize ingress tcp 49152-50175 from 2001:db8::/32'

# Far wider than what was seen.
# 13 of 13: sg-0123456789abcdef0 (ftp $(server)): revoke ingress tcp 1024-65535 from 10.0.0.0/16
step='13 of 13'
aws ec2 revoke-security-group-ingress --group-id sg-0123456789abcdef0 \
  --ip-permissions '[{"IpProtocol":"tcp","FromPort":1024,"ToPort":65535,"IpRanges":[{"CidrIp":"10.0.0.0/16"}]}]' "$@" >/dev/null
echo '13 of 13 done: sg-0123456789abcdef0 (ftp $(server)): revoke ingress tcp 1024-65535 from 10.0.0.0/16'
