package simulate

import (
	"strconv"
	"strings"
	"time"
)

// Daemon is an FTP server's software.
type Daemon uint8

// The daemons.
const (
	VSFTPD Daemon = iota
	ProFTPD
	PureFTPd
	FileZillaServer
	IIS
	TransferFamily
)

// A daemon is what an FTP server is known by on the wire.
type daemon struct {
	system System
	// ranges are the passive ranges that are common with it.
	ranges [][2]int
	// sequential tells that passive ports can come in order.
	sequential bool
	idle       time.Duration // after which it closes a session
	implicit   bool          // it can do TLS on port 990
	separate   bool          // it writes the lines of a long reply one by one
	loginTakes time.Duration
	active     bool // it opens active connections to whatever address it is told
	replies    [numVerbs]text
	list, open text // before a listing and before a file
	store      text // before an upload
	listed     text // behind a listing
	failed     text // of a login
	timeout    text
}

// A verb is what a client can ask for, or banner, which it does not have to.
type verb uint8

const (
	banner verb = iota
	auth
	user
	pass
	pbsz
	prot
	syst
	feat
	clnt
	opts
	pwd
	cwd
	typ
	size
	mdtm
	pasv
	epsv
	port
	noop
	quit
	retr
	stor
	list
	nlst
	mlsd
	numVerbs
)

// words are the commands; what stands in braces is filled in.
var words = [numVerbs]text{
	auth: line("AUTH TLS"), user: line("USER {user}"), pass: line("PASS {pass}"), pbsz: line("PBSZ 0"), prot: line("PROT P"),
	syst: line("SYST"), feat: line("FEAT"), clnt: line("CLNT FileTransfer"), opts: line("OPTS UTF8 ON"), pwd: line("PWD"), cwd: line("CWD {dir}"),
	typ: line("TYPE I"), size: line("SIZE {file}"), mdtm: line("MDTM {file}"), pasv: line("PASV"), epsv: line("EPSV"),
	port: line("PORT 10,0,1,15,200,100"), noop: line("NOOP"), quit: line("QUIT"), retr: line("RETR {file}"), stor: line("STOR {file}"),
	list: line("LIST"), nlst: line("NLST"), mlsd: line("MLSD"),
}

// A text is a message of which only the length is known, and what fills it.
type text struct {
	fixed                               int
	user, pass, dir, file, bytes, place int
	lines                               int
}

// line makes the text of one or more lines. Each ends in CR LF.
func line(lines ...string) text {
	s := strings.Join(lines, "\r\n") + "\r\n"
	t := text{lines: len(lines)}
	for _, blank := range []struct {
		name string
		n    *int
	}{{"{user}", &t.user}, {"{pass}", &t.pass}, {"{dir}", &t.dir}, {"{file}", &t.file}, {"{bytes}", &t.bytes}, {"{place}", &t.place}} {
		*blank.n = strings.Count(s, blank.name)
		s = strings.ReplaceAll(s, blank.name, "")
	}
	t.fixed = len(s)
	return t
}

// A filling is what a message is about.
type filling struct {
	user, pass, dir, file int   // lengths
	bytes                 int64 // a number
	place                 int   // length of an address and port, or of a port
}

func (t text) length(f filling) int {
	n := t.fixed + t.user*f.user + t.pass*f.pass + t.dir*f.dir + t.file*f.file + t.place*f.place
	if t.bytes > 0 {
		n += t.bytes * digits(f.bytes)
	}
	return n
}

func digits(n int64) int { return len(strconv.FormatInt(n, 10)) }

// The replies are those of the software's source or manual: vsftpd 3.0
// (prelogin.c, postlogin.c, features.c), ProFTPD 1.3 (mod_auth.c,
// mod_xfer.c, mod_tls.c), Pure-FTPd 1.0 (messages_en.h), FileZilla Server 1,
// Microsoft FTP Service of IIS 10, and what AWS Transfer Family shows to
// clients. The ranges are what manuals propose.
var daemons = [...]daemon{
	VSFTPD: {
		system: Linux, ranges: [][2]int{{1024, 65535}, {40000, 40100}, {30000, 31000}, {10090, 10100}, {64000, 65535}, {12000, 12999}},
		idle: 300 * time.Second, implicit: true, separate: true, loginTakes: 15 * time.Millisecond, active: false,
		replies: [numVerbs]text{
			banner: line("220 (vsFTPd 3.0.5)"), auth: line("234 Proceed with negotiation."), user: line("331 Please specify the password."),
			pass: line("230 Login successful."), pbsz: line("200 PBSZ set to 0."), prot: line("200 PROT now Private."), syst: line("215 UNIX Type: L8"),
			feat: line("211-Features:", " AUTH TLS", " EPRT", " EPSV", " MDTM", " PASV", " PBSZ", " PROT", " REST STREAM", " SIZE", " TVFS", "211 End"),
			clnt: line("500 Unknown command."), opts: line("200 Always in UTF8 mode."), pwd: line(`257 "/{dir}" is the current directory`),
			cwd: line("250 Directory successfully changed."), typ: line("200 Switching to Binary mode."), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})."), epsv: line("229 Entering Extended Passive Mode (|||{place}|)"),
			port: line("500 Illegal PORT command."), noop: line("200 NOOP ok."), quit: line("221 Goodbye."),
			retr: line("226 Transfer complete."), stor: line("226 Transfer complete."),
		},
		list: line("150 Here comes the directory listing."), open: line("150 Opening BINARY mode data connection for {file} ({bytes} bytes)."),
		store: line("150 Ok to send data."), listed: line("226 Directory send OK."), failed: line("530 Login incorrect."), timeout: line("421 Timeout."),
	},
	ProFTPD: {
		system: Linux, ranges: [][2]int{{32768, 60999}, {49152, 65534}, {60000, 60100}, {50000, 51000}, {35000, 35999}, {2000, 4000}},
		idle: 600 * time.Second, implicit: false, loginTakes: 30 * time.Millisecond, active: true,
		replies: [numVerbs]text{
			banner: line("220 ProFTPD Server (ftp.example.com) [203.0.113.10]"), auth: line("234 AUTH TLS successful"),
			user: line("331 Password required for {user}"), pass: line("230 User {user} logged in"), pbsz: line("200 PBSZ 0 successful"),
			prot: line("200 Protection set to Private"), syst: line("215 UNIX Type: L8"),
			feat: line("211-Features:", " AUTH TLS", " CCC", " CLNT", " EPRT", " EPSV", " HOST", " LANG en-US.UTF-8*", " MDTM", " MFF modify;UNIX.group;UNIX.mode;",
				" MFMT", " MLST modify*;perm*;size*;type*;unique*;UNIX.group*;UNIX.mode*;UNIX.owner*;", " PBSZ", " PROT", " REST STREAM", " SITE COPY", " SITE MKDIR", " SITE RMDIR",
				" SITE SYMLINK", " SITE UTIME", " SIZE", " SSCN", " TVFS", " UTF8", "211 End"),
			clnt: line("200 OK"), opts: line("200 UTF8 set to on"), pwd: line(`257 "/{dir}" is the current directory`),
			cwd: line("250 CWD command successful"), typ: line("200 Type set to I"), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})."), epsv: line("229 Entering Extended Passive Mode (|||{place}|)"),
			port: line("200 PORT command successful"), noop: line("200 NOOP command successful"), quit: line("221 Goodbye."),
			retr: line("226 Transfer complete"), stor: line("226 Transfer complete"),
		},
		list: line("150 Opening ASCII mode data connection for file list"), open: line("150 Opening BINARY mode data connection for {file} ({bytes} bytes)"),
		store: line("150 Opening BINARY mode data connection for {file}"), listed: line("226 Transfer complete"), failed: line("530 Login incorrect."),
		timeout: line("421 Idle timeout (600 seconds): closing control connection"),
	},
	PureFTPd: {
		system: Linux, ranges: [][2]int{{1024, 65535}, {30000, 50000}, {30000, 30009}, {29799, 29899}, {40110, 40210}},
		idle: 900 * time.Second, implicit: true, loginTakes: 20 * time.Millisecond, active: false,
		replies: [numVerbs]text{
			banner: line("220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------", "220-You are user number 1 of 50 allowed.", "220-Local time is now 18:05. Server port: 21.",
				"220-This is a private system - No anonymous login", "220-IPv6 connections are also welcome on this server.", "220 You will be disconnected after 15 minutes of inactivity."),
			auth: line("234 AUTH TLS OK."), user: line("331 User {user} OK. Password required"), pass: line("230 OK. Current directory is /"),
			pbsz: line("200 PBSZ=0"), prot: line(`200 Data protection level set to "private"`), syst: line("215 UNIX Type: L8"),
			feat: line("211-Extensions supported:", " UTF8", " EPRT", " IDLE", " MDTM", " SIZE", " MFMT", " REST STREAM", " MLST type*;size*;sizd*;modify*;UNIX.mode*;UNIX.uid*;UNIX.gid*;unique*;",
				" MLSD", " PRET", " AUTH TLS", " PBSZ", " PROT", " TVFS", " ESTA", " PASV", " EPSV", " SPSV", "211 End."),
			clnt: line("530 You aren't logged in"), opts: line("504 Unknown command"), pwd: line(`257 "/{dir}" is your current location`),
			cwd: line("250 OK. Current directory is /{dir}"), typ: line("200 TYPE is now 8-bit binary"), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})"), epsv: line("229 Extended Passive mode OK (|||{place}|)"),
			port: line("500 I won't open a connection to 10.0.1.15 (only to 198.51.100.7)"), noop: line("200 Zzz..."),
			quit: line("221-Goodbye. You uploaded 0 and downloaded {bytes} kbytes.", "221 Logout."),
			retr: line("226-File successfully transferred", "226 0.054 seconds (measured here), 1.61 Mbytes per second"),
			stor: line("226-File successfully transferred", "226 0.210 seconds (measured here), 1.20 Mbytes per second"),
		},
		list: line("150 Accepted data connection"), open: line("150-Accepted data connection", "150 {bytes} kbytes to download"), store: line("150 Accepted data connection"),
		listed: line("226-Options: -a -l ", "226 14 matches total"), failed: line("530 Login authentication failed"), timeout: line("421 Timeout - try typing a little faster next time"),
	},
	FileZillaServer: {
		system: Windows, ranges: [][2]int{{49152, 65534}, {50000, 51000}, {55000, 55999}, {5000, 5100}, {60000, 60050}}, sequential: true,
		idle: 120 * time.Second, implicit: true, loginTakes: 8 * time.Millisecond, active: true,
		replies: [numVerbs]text{
			banner: line("220-FileZilla Server 1.8.2", "220 Please visit https://filezilla-project.org/"), auth: line("234 Using authentication type TLS."),
			user: line("331 Please, specify the password."), pass: line("230 Login successful."), pbsz: line("200 PBSZ=0"), prot: line("200 Protection level set to P"),
			syst: line("215 UNIX emulated by FileZilla."),
			feat: line("211-Features:", " MDTM", " REST STREAM", " SIZE", " MLST type*;size*;modify*;perm*;", " MLSD", " AUTH SSL", " AUTH TLS", " PROT", " PBSZ", " UTF8", " TVFS", " EPSV", " EPRT", " MFMT", "211 End"),
			clnt: line("200 Don't care"), opts: line("202 UTF8 mode is always enabled. No need to send this command"), pwd: line(`257 "/{dir}" is current directory.`),
			cwd: line("250 CWD command successful"), typ: line("200 Type set to I"), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})"), epsv: line("229 Entering Extended Passive Mode (|||{place}|)"),
			port: line("200 PORT command successful."), noop: line("200 Noop ok."), quit: line("221 Goodbye."),
			retr: line("226 Operation successful"), stor: line("226 Operation successful"),
		},
		list: line("150 Starting data transfer."), open: line("150 Starting data transfer."), store: line("150 Starting data transfer."), listed: line("226 Operation successful"),
		failed: line("530 Login incorrect."), timeout: line("421 Activity timeout."),
	},
	IIS: {
		system: Windows, ranges: [][2]int{{49152, 65535}, {5000, 6000}, {50000, 50100}, {40000, 45000}}, sequential: true,
		idle: 120 * time.Second, implicit: true, loginTakes: 25 * time.Millisecond, active: true,
		replies: [numVerbs]text{
			banner: line("220 Microsoft FTP Service"), auth: line("234 AUTH command ok. Expecting TLS Negotiation."), user: line("331 Password required"),
			pass: line("230 User logged in."), pbsz: line("200 PBSZ command successful."), prot: line("200 PROT command successful."), syst: line("215 Windows_NT"),
			feat: line("211-Extended features supported:", " LANG EN*", " UTF8", " AUTH TLS;TLS-C;SSL;TLS-P;", " PBSZ", " PROT C;P;", " CCC", " HOST", " SIZE", " MDTM", " REST STREAM", "211 END"),
			clnt: line("500 Syntax error, command unrecognized."), opts: line("200 OPTS UTF8 command successful - UTF8 encoding now ON."), pwd: line(`257 "/{dir}" is current directory.`),
			cwd: line("250 CWD command successful."), typ: line("200 Type set to I."), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})."), epsv: line("229 Entering Extended Passive Mode (|||{place}|)"),
			port: line("200 PORT command successful."), noop: line("200 noop command successful."), quit: line("221 Goodbye."),
			retr: line("226 Transfer complete."), stor: line("226 Transfer complete."),
		},
		list: line("125 Data connection already open; Transfer starting."), open: line("125 Data connection already open; Transfer starting."),
		store: line("125 Data connection already open; Transfer starting."), listed: line("226 Transfer complete."), failed: line("530 User cannot log in."),
		timeout: line("421 Connection timed out."),
	},
	TransferFamily: {
		system: Linux, ranges: [][2]int{{8192, 8200}}, idle: 1800 * time.Second, loginTakes: 250 * time.Millisecond, active: false,
		replies: [numVerbs]text{
			banner: line("220 Service ready for new user."), auth: line("234 Command AUTH okay; starting TLS connection."),
			user: line("331 User name okay, need password for {user}."), pass: line("230 User logged in, proceed."), pbsz: line("200 Command PBSZ okay."),
			prot: line("200 Command PROT okay."), syst: line("215 UNIX Type: L8"),
			feat: line("211-Extensions supported", " SIZE", " MDTM", " REST STREAM", " LANG en;zh-tw;ja;is", " MLST Size;Modify;Type;Perm", " AUTH SSL", " AUTH TLS", " MODE Z", " UTF8", " TVFS", " MD5", " MMD5", " MFMT", " PBSZ", " PROT", "211 End"),
			clnt: line("502 Command CLNT not implemented."), opts: line("200 Command OPTS okay."), pwd: line(`257 "/{dir}" is current directory.`),
			cwd: line("250 Directory changed to /{dir}"), typ: line("200 Command TYPE okay."), size: line("213 {bytes}"), mdtm: line("213 20261122180000"),
			pasv: line("227 Entering Passive Mode ({place})"), epsv: line("229 Entering Passive Mode (|||{place}|)"), port: line("510 Active mode is not supported."),
			noop: line("200 Command NOOP okay."), quit: line("221 Goodbye."), retr: line("226 Transfer complete."), stor: line("226 Transfer complete."),
		},
		list: line("150 File status okay; about to open data connection."), open: line("150 File status okay; about to open data connection."),
		store: line("150 File status okay; about to open data connection."), listed: line("226 Closing data connection."), failed: line("530 Authentication failed."),
		timeout: line("421 Idle timeout reached."),
	},
}

func (d *daemon) passiveRange(w *world) (lo, hi uint16) {
	r := pick(w, d.ranges)
	return uint16(r[0]), uint16(r[1])
}

// A software is an FTP client's.
type software struct {
	login  []verb // behind the greeting
	secure []verb // behind the login, with TLS
	before []verb // the command that opens the data connection, of a file
	after  []verb // between that and the transfer's own command
	epsv   bool
	lists  verb // how it lists a directory
	// early tells that it sends the transfer's command before its data
	// connection is established; batches, that it does not wait for replies
	// before it sends the next command.
	early, batches bool
	browses        bool          // it lists every directory first
	patience       time.Duration // with a data connection
	stubborn       bool          // it goes on behind one that failed
	noops          time.Duration // when idle; 0 if it sends none
	probes         time.Duration // TCP keep-alive; 0 if off
	leaves         leaving
	external       bool // in active mode it names an address that it found out
}

// leaving is how a client ends a session.
type leaving uint8

const (
	politely leaving = iota // QUIT, and waits for the answer
	hastily                 // QUIT, and closes at once
	silently                // closes
)

// The clients: curl (lib/ftp.c), lftp (ftpclass.cc), Python's ftplib,
// ftp.exe, WinSCP, FileZilla (engine/ftp), Apache Commons Net (FTPClient).
var (
	curl = software{
		login: []verb{user, pass, pwd}, secure: []verb{pbsz, prot}, after: []verb{typ, size}, epsv: true, lists: list,
		patience: 30 * time.Second, probes: 60 * time.Second, leaves: politely, external: true,
	}
	curlDated = software{
		login: []verb{user, pass, pwd, cwd}, secure: []verb{pbsz, prot}, before: []verb{mdtm}, after: []verb{typ, size}, epsv: true, lists: nlst,
		patience: 300 * time.Second, probes: 60 * time.Second, leaves: politely,
	}
	lftp = software{
		login: []verb{feat, user, pass, opts, pwd}, secure: []verb{pbsz, prot}, before: []verb{typ, size, mdtm}, lists: list, batches: true,
		early: true, browses: true, patience: 30 * time.Second, stubborn: true, leaves: hastily,
	}
	ftplib = software{
		login: []verb{user, pass}, secure: []verb{pbsz, prot}, before: []verb{typ}, lists: nlst, patience: 60 * time.Second, leaves: politely,
	}
	ftplibWalk = software{
		login: []verb{user, pass, cwd}, secure: []verb{pbsz, prot}, before: []verb{typ}, lists: mlsd, browses: true, patience: 20 * time.Second, stubborn: true, leaves: silently,
	}
	winSCP = software{
		login: []verb{user, pass, syst, feat, opts, pwd}, secure: []verb{pbsz, prot}, before: []verb{typ}, lists: mlsd, browses: true, early: true,
		patience: 15 * time.Second, stubborn: true, noops: 30 * time.Second, leaves: silently, external: true,
	}
	fileZilla = software{
		login: []verb{user, pass, syst, feat, clnt, opts}, secure: []verb{pbsz, prot, pwd}, before: []verb{typ}, lists: mlsd, browses: true, early: true,
		patience: 20 * time.Second, stubborn: true, noops: 35 * time.Second, leaves: silently, external: true,
	}
	ftpExe = software{
		login: []verb{opts, user, pass}, lists: list, patience: 20 * time.Second, stubborn: true, leaves: politely,
	}
	commonsNet = software{
		login: []verb{user, pass, typ, syst}, secure: []verb{pbsz, prot}, lists: list, browses: true, patience: 60 * time.Second, leaves: politely,
	}
	commonsNetPolling = software{
		login: []verb{user, pass, cwd, typ}, secure: []verb{pbsz, prot}, before: []verb{noop}, lists: nlst, browses: true, patience: 10 * time.Second,
		noops: 300 * time.Second, leaves: politely,
	}
)

// softwareOf is what runs on each operating system.
var softwareOf = [...][]*software{
	Linux:   {&curl, &curlDated, &lftp, &lftp, &ftplib, &ftplibWalk, &commonsNet, &commonsNetPolling},
	Windows: {&winSCP, &winSCP, &fileZilla, &fileZilla, &ftpExe, &curl, &commonsNet, &ftplib},
	MacOS:   {&fileZilla, &curl, &lftp, &ftplib},
}
