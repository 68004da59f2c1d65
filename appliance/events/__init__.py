"""What happened: lines of every daemon as events, gathered and handed out.

`hub` gathers and hands out, `listener` hears supervisord, `syslog` hears in.tftpd.
"""
