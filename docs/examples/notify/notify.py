"""
Tell people of a change: by mail, by a webhook (Slack, PagerDuty, Teams, ntfy), or both. A runner for /srv/salt/_runners.

.. code-block:: yaml

    notify:                                    # in /etc/salt/master.d/notify.conf, mode 0600
      mail: {server: 'mail.example.com', port: 25, sender: salt@example.com, to: [ops@example.com], starttls: true}
      webhook: https://hooks.slack.com/services/…
"""

import email.message
import json
import logging
import smtplib
import ssl
import urllib.request

log = logging.getLogger(__name__)

#: Seconds; the reactor's threads are few.
LIMIT = 10


def change(sentence, resource, state, protected):
    """
    Send one sentence wherever ``notify`` in the master's configuration says.

    CLI Example:

    .. code-block:: bash

        salt-run notify.change 'a test' pgdata active True
    """
    asked = __opts__.get("notify") or {}
    mark = "ok" if protected is True else state.upper()
    subject = " ".join(f"[vmdk] {resource}: {mark}".split())  # one line, whatever was sent
    for way, send in (("mail", _mail), ("webhook", _post)):
        if asked.get(way):
            try:
                send(asked[way], subject, sentence)
            except (OSError, smtplib.SMTPException, ValueError) as err:
                log.error("notify: no %s was sent for %s: %s", way, resource, err)
                return False
    return True


def _mail(asked, subject, sentence):
    message = email.message.EmailMessage()
    message["From"], message["To"] = asked["sender"], ", ".join(asked["to"])
    message["Subject"] = subject
    message.set_content(sentence)
    with smtplib.SMTP(asked["server"], asked.get("port", 25), timeout=LIMIT) as server:
        if asked.get("starttls", True):
            server.starttls(context=ssl.create_default_context())
        if asked.get("user"):
            server.login(asked["user"], asked["password"])
        server.send_message(message)


def _post(url, subject, sentence):
    body = json.dumps({"text": f"{subject} – {sentence}"}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT):
        pass
