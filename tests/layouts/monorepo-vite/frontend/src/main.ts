document.title += " is running";
