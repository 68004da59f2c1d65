# The image's HEALTHCHECK: asks the orchestrator how it is, and fails unless all is ready.
# In Perl, which every Debian has: Python would take 1 % of a core for being started.
use strict;
use warnings;
use Socket;

my $patience = 3;    # seconds; one that hangs is as bad as one that is gone
$SIG{ALRM} = sub { unhealthy("the orchestrator does not answer within $patience s") };
alarm $patience;

socket(my $control, AF_UNIX, SOCK_STREAM, 0) or unhealthy("no socket: $!");
connect($control, pack_sockaddr_un('/run/bootdrop/control.sock'))
    or unhealthy("the orchestrator does not listen: $!");
syswrite($control, "health\n") or unhealthy("the orchestrator does not listen: $!");
my $said = <$control> // unhealthy('the orchestrator went away');
print $said;
exit($said eq "ready\n" ? 0 : 1);

sub unhealthy {
    my ($why) = @_;
    print "$why\n";
    exit 1;
}
