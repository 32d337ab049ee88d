# Proposal for the FTP clients of vpc-0a1.
#
# It stands on 42 sessions from 2026-11-01 to 2026-11-21. rm -rf ~
#
# The entries and rules below are all that these network ACLs and security groups are to have,
# changed or not. Resources that another configuration manages belong there: move them, or Terraform
# and it undo each other's work.
# Terraform makes its changes in no certain order. The AWS CLI script makes them one by one, in an
# order in which what was allowed before and after is allowed in between.

# Network ACL acl-0a1b2c3d (private "subnets")

# Replies to FTP clients on Linux, whose ephemeral ports are 32768-60999.
# Before: rule 100 allow tcp 1024-65535 from 0.0.0.0/0. Terraform deletes that before it creates
# this, so for some seconds neither is there; the AWS CLI script replaces it without a gap.
resource "aws_network_acl_rule" "private_subnets_ingress_100" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = false
  rule_number    = 100
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 32768
  to_port        = 60999
  cidr_block     = "0.0.0.0/0"
}

import {
  to = aws_network_acl_rule.private_subnets_ingress_100
  id = "acl-0a1b2c3d:100:tcp:false"
}

# Before: rule 120 allow icmp from 0.0.0.0/0. Terraform deletes that before it creates this, so for
# some seconds neither is there; the AWS CLI script replaces it without a gap.
resource "aws_network_acl_rule" "private_subnets_ingress_120" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = false
  rule_number    = 120
  rule_action    = "allow"
  protocol       = "icmp"
  icmp_type      = 3
  icmp_code      = 4
  cidr_block     = "0.0.0.0/0"
}

import {
  to = aws_network_acl_rule.private_subnets_ingress_120
  id = "acl-0a1b2c3d:120:icmp:false"
}

resource "aws_network_acl_rule" "private_subnets_ingress_130" {
  network_acl_id  = "acl-0a1b2c3d"
  egress          = false
  rule_number     = 130
  rule_action     = "allow"
  protocol        = "tcp"
  from_port       = 1024
  to_port         = 65535
  ipv6_cidr_block = "::/0"
}

import {
  to = aws_network_acl_rule.private_subnets_ingress_130
  id = "acl-0a1b2c3d:130:tcp:false"
}

resource "aws_network_acl_rule" "private_subnets_ingress_140" {
  network_acl_id  = "acl-0a1b2c3d"
  egress          = false
  rule_number     = 140
  rule_action     = "allow"
  protocol        = "58"
  icmp_type       = 2
  icmp_code       = 0
  ipv6_cidr_block = "::/0"
}

resource "aws_network_acl_rule" "private_subnets_egress_100" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = true
  rule_number    = 100
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 21
  to_port        = 21
  cidr_block     = "0.0.0.0/0"
}

import {
  to = aws_network_acl_rule.private_subnets_egress_100
  id = "acl-0a1b2c3d:100:tcp:true"
}

# Passive data to files.example.com: ports 49152-50175 as of its 227 replies in 31 sessions, all of
# which are inside what the server says it uses.
# Before: rule 110 allow tcp 1024-65535 to 0.0.0.0/0. Terraform deletes that before it creates this,
# so for some seconds neither is there; the AWS CLI script replaces it without a gap.
resource "aws_network_acl_rule" "private_subnets_egress_110" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = true
  rule_number    = 110
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 49152
  to_port        = 50175
  cidr_block     = "203.0.113.10/32"
}

import {
  to = aws_network_acl_rule.private_subnets_egress_110
  id = "acl-0a1b2c3d:110:tcp:true"
}

# Passive data to AWS Transfer Family $(touch /tmp/owned) */
resource "aws_network_acl_rule" "private_subnets_egress_111" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = true
  rule_number    = 111
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 8192
  to_port        = 8200
  cidr_block     = "198.51.100.0/24"
}

resource "aws_network_acl_rule" "private_subnets_egress_112" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = true
  rule_number    = 112
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 990
  to_port        = 990
  cidr_block     = "203.0.113.10/32"
}

# IPv6 data resource "x" "y" {}
resource "aws_network_acl_rule" "private_subnets_egress_113" {
  network_acl_id  = "acl-0a1b2c3d"
  egress          = true
  rule_number     = 113
  rule_action     = "allow"
  protocol        = "tcp"
  from_port       = 60000
  to_port         = 60100
  ipv6_cidr_block = "2001:db8:4::/48"
}

resource "aws_network_acl_rule" "private_subnets_egress_114" {
  network_acl_id = "acl-0a1b2c3d"
  egress         = true
  rule_number    = 114
  rule_action    = "allow"
  protocol       = "-1"
  cidr_block     = "10.0.0.0/16"
}

# Network ACL acl-0f9e8d7c (public)
# Taken away, that is, to be deleted if Terraform does not manage it:
# - ingress rule 90 deny tcp 50000-51000 from 0.0.0.0/0: It denied data connections of 7 sessions.

# Before: rule 100 allow tcp 1024-49999 from 0.0.0.0/0. Terraform deletes that before it creates
# this, so for some seconds neither is there; the AWS CLI script replaces it without a gap.
resource "aws_network_acl_rule" "public_ingress_100" {
  network_acl_id = "acl-0f9e8d7c"
  egress         = false
  rule_number    = 100
  rule_action    = "allow"
  protocol       = "tcp"
  from_port      = 1024
  to_port        = 65535
  cidr_block     = "0.0.0.0/0"
}

import {
  to = aws_network_acl_rule.public_ingress_100
  id = "acl-0f9e8d7c:100:tcp:false"
}

resource "aws_network_acl_rule" "public_egress_100" {
  network_acl_id = "acl-0f9e8d7c"
  egress         = true
  rule_number    = 100
  rule_action    = "allow"
  protocol       = "-1"
  cidr_block     = "0.0.0.0/0"
}

import {
  to = aws_network_acl_rule.public_egress_100
  id = "acl-0f9e8d7c:100:-1:true"
}

# Security group sg-0123456789abcdef0 (ftp $(server))
# Taken away, that is, to be revoked if Terraform does not manage it:
# - ingress tcp 1024-65535 from 10.0.0.0/16: Far wider than what was seen.

# It exists, and Terraform fails to create it again. This command prints its ID, sgr-...:
#   aws ec2 describe-security-group-rules --filters Name=group-id,Values=sg-0123456789abcdef0 --query 'SecurityGroupRules[?IsEgress==`false` && IpProtocol==`"tcp"` && FromPort==`21` && ToPort==`21` && CidrIpv4==`"10.0.0.0/16"`].SecurityGroupRuleId' --output text
# Fill it in here, and take the comment signs away:
#   import {
#     to = aws_vpc_security_group_ingress_rule.ftp_server_tcp_21_from_10_0_0_0_16
#     id = "sgr-..."
#   }
resource "aws_vpc_security_group_ingress_rule" "ftp_server_tcp_21_from_10_0_0_0_16" {
  security_group_id = "sg-0123456789abcdef0"
  description       = "control $${connection}"
  ip_protocol       = "tcp"
  from_port         = 21
  to_port           = 21
  cidr_ipv4         = "10.0.0.0/16"
}

# Passive data, `whoami`
resource "aws_vpc_security_group_ingress_rule" "ftp_server_tcp_49152_50175_from_10_0_0_0_16" {
  security_group_id = "sg-0123456789abcdef0"
  description       = "passive \"data\""
  ip_protocol       = "tcp"
  from_port         = 49152
  to_port           = 50175
  cidr_ipv4         = "10.0.0.0/16"
}

resource "aws_vpc_security_group_ingress_rule" "ftp_server_tcp_49152_50175_from_2001_db8_32" {
  security_group_id = "sg-0123456789abcdef0"
  description       = "it's passive data"
  ip_protocol       = "tcp"
  from_port         = 49152
  to_port           = 50175
  cidr_ipv6         = "2001:db8::/32"
}

# It exists, and Terraform fails to create it again. This command prints its ID, sgr-...:
#   aws ec2 describe-security-group-rules --filters Name=group-id,Values=sg-0123456789abcdef0 --query 'SecurityGroupRules[?IsEgress==`true` && IpProtocol==`"-1"` && CidrIpv4==`"0.0.0.0/0"`].SecurityGroupRuleId' --output text
# Fill it in here, and take the comment signs away:
#   import {
#     to = aws_vpc_security_group_egress_rule.ftp_server_all_to_anywhere
#     id = "sgr-..."
#   }
resource "aws_vpc_security_group_egress_rule" "ftp_server_all_to_anywhere" {
  security_group_id = "sg-0123456789abcdef0"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
